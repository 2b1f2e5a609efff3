"""Notice at once that a browser's lease has run out: within a quarter of a second.

The supervisor tells of a worker's exit in milliseconds. This is for those it does not see: a worker on
another machine, one that stands still, one whose supervisor is gone too. The sweep finds the same, later.
"""

from __future__ import annotations

import logging
import threading

import redis.exceptions
from django.db import DatabaseError

from browsers.state import live
from inference.ledger import sweep

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.25


def watch_forever(stop: threading.Event) -> None:
    """The control worker's lease thread."""
    held: frozenset[str] | None = None
    while not stop.wait(LOOK_EVERY_S):
        try:
            held = check_leases(held)
        except redis.exceptions.RedisError:
            held = None  # leases that ended while nobody could renew them say nothing
        except (DatabaseError, OSError) as error:
            log.warning("an ended lease is left to the sweep: %s", error)
            held = None
        except Exception:
            log.exception("an ended lease is left to the sweep")
            held = None


def check_leases(before: frozenset[str] | None) -> frozenset[str]:
    """Who holds a lease now; the work of those who held one before and do not any more is moved."""
    now = live.holders()
    ended = (before or frozenset()) - now
    for browser_id in sorted(ended) if ended and live.leases_count() else ():
        log.warning("%s: its lease has ended", browser_id)
        sweep.lease_ended(browser_id)
    return now
