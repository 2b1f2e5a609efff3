"""The control worker's thread that feeds comparisons; woken by each run that ends.

One comparison at a time, the oldest first: two would disturb one another's times.
"""

from __future__ import annotations

import logging
import threading
import uuid
from datetime import datetime

import redis.exceptions
from django.db import DatabaseError
from django.db.models import Q

from browsers import clock
from inference.comparisons.engine import advance
from inference.models import Comparison, ComparisonState
from inference.store import wakeups
from inference.store.under_way import under_way

log = logging.getLogger(__name__)


def feed(alone_since: datetime | None = None) -> uuid.UUID | None:
    """Advance the oldest open comparison, and end what cancelled ones left; returns the run in flight.

    `alone_since`: as for `advance`.
    """
    flying: uuid.UUID | None = None
    for comparison_id in comparisons_to_feed():
        try:
            flying = advance(comparison_id, clock.now(), alone_since) or flying
        except Comparison.DoesNotExist:
            log.info("comparison %s was deleted with its model", comparison_id)
        except (redis.exceptions.RedisError, DatabaseError) as error:
            log.warning("comparison %s: %s; trying again", comparison_id, error)
        except Exception as error:  # such as a full disk: it goes on when that is mended
            log.exception("comparison %s", comparison_id)
            Comparison.objects.filter(pk=comparison_id).update(
                note=f"{type(error).__name__}: {error}"
            )
    return flying


def comparisons_to_feed() -> list[uuid.UUID]:
    """Cancelled ones with a run in flight, then the oldest that runs."""
    rows = Comparison.objects.order_by("created_at")
    left = rows.filter(~Q(turn_cell=None), state=ComparisonState.CANCELLED)
    running = rows.filter(state=ComparisonState.RUNNING)
    return [*left.values_list("pk", flat=True), *running.values_list("pk", flat=True)[:1]]


def feed_forever(stop: threading.Event, every_s: float) -> None:
    """Feed, then wait for the run to end, at most `every_s`; nobody else feeds from now on."""
    began: datetime | None = None
    while not stop.is_set():
        try:
            began = began or clock.now()
            flying = feed(alone_since=began) if under_way().comparisons else None
            if flying is not None:
                wakeups.wait_any([flying], every_s)
            else:
                stop.wait(every_s)
        except (redis.exceptions.RedisError, DatabaseError, OSError) as error:
            log.warning("comparisons: %s; trying again in %g s", error, every_s)
            stop.wait(every_s)
