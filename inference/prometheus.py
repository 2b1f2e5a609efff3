"""The pool in Prometheus' text format: what rows and live state say now, and nothing else.

Counts over rows are gauges, not counters: retention deletes old runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from django.db.models import Count

from browsers.live import living
from browsers.models import Browser
from browsers.redis import client
from inference.dispatch import CONTROL_QUEUE, queue_of
from inference.models import Attempt, OnnxModel, Run, RunShard, ShardState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HISTORY_QUEUE = "history"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Sample = tuple[Mapping[str, str], float]


def exposition(now_s: float | None = None) -> str:
    """Every metric; `now_s` is the Unix time that heartbeats are compared with."""
    parts = [*_ledger(), *_pool(time.time() if now_s is None else now_s)]
    return "".join(parts)


def _ledger() -> Iterator[str]:
    yield _gauge("webpool_models", "Registered models.", [({}, OnnxModel.objects.count())])
    runs = Run.objects.order_by().values_list("state").annotate(Count("pk"))
    yield _gauge("webpool_runs", "Runs kept, by state.", [({"state": s}, n) for s, n in runs])
    open_states = [ShardState.WAITING, ShardState.READY, ShardState.QUEUED, ShardState.RUNNING]
    shards = RunShard.objects.filter(run__state="running", state__in=open_states).order_by()
    yield _gauge(
        "webpool_open_shards",
        "Shards of active runs that are not done, by state.",
        [({"state": s}, n) for s, n in shards.values_list("state").annotate(Count("pk"))],
    )
    attempts = Attempt.objects.order_by().values_list("outcome", "browser", "backend")
    yield _gauge(
        "webpool_attempts",
        "Attempts kept, by outcome, browser and backend.",
        [
            ({"outcome": outcome, "browser": browser, "backend": backend}, count)
            for outcome, browser, backend, count in attempts.annotate(Count("pk"))
        ],
    )


def _pool(now_s: float) -> Iterator[str]:
    rows = Browser.objects.order_by().values_list("state").annotate(Count("pk"))
    yield _gauge(
        "webpool_browsers", "Browsers known, by state.", [({"state": s}, n) for s, n in rows]
    )
    alive = living().values()
    yield _gauge(
        "webpool_browser_up",
        "Browsers whose worker holds its lease.",
        [
            ({"browser": b.id, "family": b.family, "version": b.version, "state": b.state}, 1)
            for b in alive
        ],
    )
    yield _gauge(
        "webpool_browser_heartbeat_age_seconds",
        "Time since the worker last spoke.",
        [({"browser": b.id}, max(0.0, now_s - b.heartbeat)) for b in alive],
    )
    yield _gauge(
        "webpool_browser_memory_bytes",
        "Proportional set size of the browser's process tree, where it could be measured.",
        [({"browser": b.id}, b.memory_mb * 2**20) for b in alive if b.memory_mb is not None],
    )
    yield _gauge(
        "webpool_browser_resident_model_bytes",
        "Bytes of model files loaded in the browser.",
        [({"browser": b.id}, b.resident_bytes) for b in alive],
    )
    ids = Browser.objects.values_list("pk", flat=True)
    queues = [CONTROL_QUEUE, _HISTORY_QUEUE, *(queue_of(browser_id) for browser_id in ids)]
    pipe = client().pipeline(transaction=False)
    for queue in queues:
        pipe.llen(queue)
    lengths = zip(queues, pipe.execute(), strict=True)
    yield _gauge(
        "webpool_queue_length", "Messages waiting.", [({"queue": q}, n) for q, n in lengths]
    )


def _gauge(name: str, about: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {value:.15g}" if pairs else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"
