"""The control worker's thread that feeds batch jobs; woken by each run that ends."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from datetime import datetime

import redis.exceptions
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q

from browsers import clock
from inference.batches.engine import advance
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.store import wakeups
from inference.store.under_way import under_way

log = logging.getLogger(__name__)


def feed(alone_since: datetime | None = None) -> list[uuid.UUID]:
    """Advance every job that is not at rest; returns the runs in flight.

    One job's failure does not keep the others from their work. `alone_since`: as for `advance`.
    """
    flying: list[uuid.UUID] = []
    for job_id in jobs_to_feed():
        try:
            flying += advance(job_id, clock.now(), alone_since)
        except BatchJob.DoesNotExist:
            log.info("batch job %s was deleted with its model", job_id)
        except (redis.exceptions.RedisError, DatabaseError) as error:
            log.warning("batch job %s: %s; trying again", job_id, error)
        except Exception as error:  # such as a full disk: the job goes on when it is mended
            log.exception("batch job %s", job_id)
            BatchJob.objects.filter(pk=job_id).update(note=f"{type(error).__name__}: {error}")
    return flying


def jobs_to_feed() -> list[uuid.UUID]:
    """Running jobs, and cancelled ones with a run in flight; those first whose owner has fewest in flight.

    Where batch jobs have all the room that there is for them, what becomes free goes to who has none. Of one
    owner's the oldest comes first.
    """
    in_flight = Batch.objects.filter(state=BatchState.RUNNING)
    has_some = Exists(in_flight.filter(job=OuterRef("pk")))
    rows = BatchJob.objects.filter(Q(state=JobState.RUNNING) | has_some).order_by("created_at")
    of_owner = Counter(in_flight.values_list("job__owner", flat=True))
    jobs = list(rows.values_list("pk", "owner"))
    return [pk for pk, owner in sorted(jobs, key=lambda job: of_owner[job[1]])]


def feed_forever(stop: threading.Event, every_s: float) -> None:
    """Feed, then wait for a run to end, at most `every_s`; nobody else feeds from now on."""
    began: datetime | None = None
    while not stop.is_set():
        try:
            began = began or clock.now()
            flying = feed(alone_since=began) if under_way().batches else []
            if flying:
                wakeups.wait_any(flying, every_s)
            else:
                stop.wait(every_s)
        except (redis.exceptions.RedisError, DatabaseError, OSError) as error:
            log.warning("batch jobs: %s; trying again in %g s", error, every_s)
            stop.wait(every_s)
