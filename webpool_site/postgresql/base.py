"""Django's PostgreSQL backend for processes that live long.

A server that was started anew, or a pooler that gave a connection up, leaves a dead one in every thread.
Django exchanges it between two requests; threads that sweep, watch and feed have no requests. So whoever
finds the connection closed opens another, but not in the middle of a transaction, which is lost.
"""

from __future__ import annotations

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def ensure_connection(self) -> None:
        if self.connection is not None and self.connection.closed and not self.in_atomic_block:
            self.close()
        super().ensure_connection()
