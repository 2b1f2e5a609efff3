"""Run, then queue, then refuse."""

from __future__ import annotations

import math
from datetime import timedelta

from django.conf import settings
from django.db.models import Min

from browsers import clock
from inference.errors import Busy
from inference.models import Run
from inference.store.sql.running import rows
from inference.store.sql.statements import read_sql

_ACTIVE = read_sql("active_runs")
_WINDOW = timedelta(seconds=30)


def admit() -> None:
    """Let one more run in.

    Raises:
        Busy: as many runs are active as settings.WEBPOOL_MAX_ACTIVE_RUNS allows.
    """
    ((active,),) = rows(_ACTIVE)
    if active >= settings.WEBPOOL_MAX_ACTIVE_RUNS:
        raise Busy(
            f"{active} runs are active, the limit is {settings.WEBPOOL_MAX_ACTIVE_RUNS} "
            "(WEBPOOL_MAX_ACTIVE_RUNS); send it again later",
            retry_after_s=retry_after_s(active - settings.WEBPOOL_MAX_ACTIVE_RUNS + 1),
        )


def retry_after_s(excess: int) -> float:
    """Seconds until `excess` runs will have drained, at the rate of the last half minute.

    Where nothing finished in that time, it is the time until the next deadline, when one must end.
    """
    now = clock.now()
    finished = Run.objects.filter(finished_at__gt=now - _WINDOW).count()
    if finished:
        return max(1.0, math.ceil(excess * _WINDOW.total_seconds() / finished))
    earliest = Run.objects.active().aggregate(at=Min("deadline_at"))["at"]
    return max(1.0, math.ceil((earliest - now).total_seconds())) if earliest else 1.0
