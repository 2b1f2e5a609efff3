"""A pgbouncer of the tests' own before a PostgreSQL server of theirs, in transaction mode, without a port.

Whatever a session keeps beyond its transaction is left with another client: the connections to the server
take turns, and there are several from the start.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.support import postgres

CONSOLE = "pgbouncer"  # a database that takes commands
_CONFIGURATION = """
[databases]
* = host={server} user={user} min_pool_size=3

[pgbouncer]
pool_mode = transaction
server_round_robin = 1
default_pool_size = 20
max_client_conn = 200
unix_socket_dir = {folder}
listen_port = 5432
auth_type = trust
auth_file = {folder}/users
admin_users = {user}
"""


class NoPgbouncer(Exception):
    """This machine has no pgbouncer; the message says how it gets one."""


@contextlib.contextmanager
def pooler(server: Path) -> Iterator[Path]:
    """Run one before the server in that folder and give the folder of its socket; it ends with this process.

    Raises:
        NoPgbouncer.
    """
    binary = program()
    with postgres.folder_of_its_own() as (folder, identity):
        user = postgres.USER
        users, configuration = folder / "users", folder / "pgbouncer.ini"
        users.write_text(f'"{user}" ""\n')
        configuration.write_text(_CONFIGURATION.format(server=server, folder=folder, user=user))
        for path in (users, configuration):
            path.chmod(0o644)  # it is another user's to read
        with postgres.running([binary, configuration], folder, identity, ends_at=signal.SIGTERM):
            yield folder


def program() -> str:
    """Where it is installed.

    Raises:
        NoPgbouncer.
    """
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if found is None:
        raise NoPgbouncer(
            "pgbouncer is not installed: `manage.py setup --development` as root, "
            "or apt-get install pgbouncer"
        )
    return found
