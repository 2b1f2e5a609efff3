"""Notice at once that a browser's lease has run out: at the moment when the soonest can.

The supervisor tells of a worker's exit in milliseconds. This is for those it does not see: a worker on
another machine, one that stands still, one whose supervisor is gone too. The sweep finds the same, later.
"""

from __future__ import annotations

import logging
import threading

import redis.exceptions
from django.conf import settings
from django.db import DatabaseError

from browsers.state import live
from inference.ledger import sweep

log = logging.getLogger(__name__)
_AGAIN_S = 0.25
_BEYOND_S = 0.01  # the server's clock counts milliseconds


def watch_forever(stop: threading.Event) -> None:
    """The control worker's lease thread."""
    held: frozenset[str] | None = None
    pause_s = _AGAIN_S
    while not stop.wait(pause_s):
        pause_s = _AGAIN_S
        try:
            held, pause_s = check_leases(held)
        except redis.exceptions.RedisError:
            held = None  # leases that ended while nobody could renew them say nothing
        except (DatabaseError, OSError) as error:
            log.warning("an ended lease is left to the sweep: %s", error)
            held = None
        except Exception:
            log.exception("an ended lease is left to the sweep")
            held = None


def check_leases(before: frozenset[str] | None) -> tuple[frozenset[str], float]:
    """Who holds a lease now, and in how many s one may end; what those had who hold none any more is moved.

    A lease that begins meanwhile lasts longer than that.
    """
    left_s = live.leases()
    now = frozenset(left_s)
    ended = (before or frozenset()) - now
    for browser_id in sorted(ended) if ended and live.leases_count() else ():
        log.warning("%s: its lease has ended", browser_id)
        sweep.lease_ended(browser_id)
    return now, min([*left_s.values(), settings.WEBPOOL_LEASE_S]) + _BEYOND_S
