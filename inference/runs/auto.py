"""Strategy `auto`: list the ways a request could be run, predict each, take the fastest, and say why."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Iterator, Sequence

from django.db.models import Count, F, Q, Sum

from inference.catalog import plans
from inference.catalog.data_parallel import unproved
from inference.core import costs
from inference.core.placement import BrowserView, NoBrowser, ShardView, Wishes, peak_mb
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.graph.batching.batch_axis import Verdict
from inference.models import (
    OnnxModel,
    PlanStep,
    Run,
    RunState,
    RunStep,
    StepKind,
    StepState,
    Strategy,
)
from inference.runs.metrics import milliseconds
from inference.scheduling.wishes import wishes_from

_RATES_LAST_S = 5
_RATES_RUNS = 100
_MOST_LAYER_SHARDS = 32


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was chosen; `explanation` is JSON for the run's row and for people."""

    strategy: str
    shards: int
    data_parallel: int
    explanation: JsonObject


def decide(
    model: OnnxModel,
    pool: Sequence[BrowserView],
    *,
    browsers: Sequence[str] = (),
    platform: str = "",
    rows: int | None = None,
    allow_unproved_split: bool = False,
) -> Decision:
    """The fastest feasible way to run a batch of `rows` (None: not known) in this pool now.

    Raises:
        InvalidRequest: none is feasible; says why for each. Or the model is made of components, which
            leaves nothing to choose.
    """
    if model.components:
        raise InvalidRequest(
            f"model {model.name} is made of components, which run in one way: there is nothing to predict"
        )
    wishes = wishes_from(browsers, platform, {})
    rates = hop_rates(int(time.monotonic() / _RATES_LAST_S))
    whole = _way(model, Strategy.NONE, 1, None).steps[0]
    considered: list[JsonObject] = []
    predictions = []
    may_split = model.batch.may_split(allow_unproved=allow_unproved_split)
    if rows is not None and rows > 1 and model.batch.verdict == Verdict.TRIED and not may_split:
        considered.append(_left_out(model))
    for way in _ways(model, pool, wishes, rows if may_split else None):
        named = {
            "strategy": way.strategy, "shards": way.shards, "data_parallel": way.data_parallel,
        }  # fmt: skip
        try:
            prediction = costs.predict(way, whole, pool, wishes, rates)
        except NoBrowser as none:
            considered.append({**named, "predicted_ms": None, "reason": str(none)})
        else:
            predictions.append(prediction)
            considered.append({**named, "predicted_ms": prediction.total_ms, "reason": ""})
    if not predictions:
        reasons = "; ".join(f"{w['strategy']}×{w['shards']}: {w['reason']}" for w in considered)
        raise InvalidRequest(f"model {model.name} fits this pool in no way: {reasons}")
    best = costs.best(predictions)
    explanation = {
        "strategy": best.way.strategy,
        "shards": best.way.shards,
        "data_parallel": best.way.data_parallel,
        "predicted_ms": best.total_ms,
        "steps": [dataclasses.asdict(step) for step in best.steps],
        **dataclasses.asdict(rates),
        "considered": considered,
    }
    return Decision(best.way.strategy, best.way.shards, best.way.data_parallel, explanation)


def _left_out(model: OnnxModel) -> JsonObject:
    """Splitting the batch, and why it was not considered."""
    return {
        "strategy": Strategy.DATA,
        "shards": 2,
        "data_parallel": 1,
        "predicted_ms": None,
        "reason": unproved(model),
    }


def _ways(
    model: OnnxModel, pool: Sequence[BrowserView], wishes: Wishes, rows: int | None
) -> Iterator[costs.Way]:
    """Whole; a batch over copies in two browsers and more; and, where whole fits nowhere, of the fewest
    layers that do, alone and with the batch over copies of them. `rows` None: the batch stays whole.
    """
    most_copies = 1 if rows is None else min(rows, len(pool))
    whole = _way(model, Strategy.NONE, 1, rows)
    yield whole
    for copies in range(2, most_copies + 1):
        yield _way(model, Strategy.DATA, copies, rows)
    if _fits(whole, pool, wishes):
        return
    most = min(model.max_shards, _MOST_LAYER_SHARDS)
    for shards in range(min(_least_shards(model, pool), most), most + 1):
        way = _way(model, Strategy.LAYER, shards, rows)
        if _fits(way, pool, wishes) or shards == most:
            yield way
            for copies in range(2, min(most_copies, len(pool) // shards) + 1):
                yield _way(model, Strategy.LAYER, shards, rows, copies)
            return


def _least_shards(model: OnnxModel, pool: Sequence[BrowserView]) -> int:
    """Fewer equal shards than this cannot fit the roomiest browser: they need not be cut to see it."""
    view = ShardView(0, model.sha256, model.weight_bytes)
    needed = [(peak_mb(view, b, ""), b.memory_limit_mb) for b in pool]
    return max(2, min((math.ceil(mb / limit) for mb, limit in needed if limit), default=2))


def _fits(way: costs.Way, pool: Sequence[BrowserView], wishes: Wishes) -> bool:
    try:
        costs.predict(way, way.steps[0], pool, wishes, costs.Rates())
    except NoBrowser:
        return False
    return True


def _way(
    model: OnnxModel, strategy: str, shards: int, rows: int | None, data_parallel: int = 1
) -> costs.Way:
    # A batch is split here only where `decide` found that it may be.
    _, steps = plans.cached_plan(model, strategy, shards, data_parallel, allow_unproved_split=True)
    return costs.Way(strategy, shards, tuple(map(_step, steps)), rows, data_parallel)


def _step(step: PlanStep) -> costs.Step:
    return costs.Step(
        index=step.index,
        sha256=step.sha256,
        weight_bytes=step.weight_bytes,
        cost=step.cost,
        depends_on=tuple(step.depends_on),
        crossing_bytes=step.crossing_bytes,
        join=step.kind == StepKind.JOIN,
        batch_part=step.batch_part,
    )


@functools.lru_cache(maxsize=1)
def hop_rates(_period: int) -> costs.Rates:
    """What a hop of recent undisturbed runs took beyond computing, and what a join took: medians.

    Asked once a period.
    """
    rows = (
        Run.objects.filter(
            state=RunState.SUCCEEDED, plan__strategy__in=[Strategy.NONE, Strategy.LAYER]
        )
        .annotate(
            computed_ms=Sum("shards__attempt_rows__compute_ms"),
            attempts=Count("shards__attempt_rows"),
            loads=Count("pk", filter=Q(shards__attempt_rows__load_ms__gt=0)),
        )
        .filter(attempts=F("plan__num_shards"), loads=0)
        .order_by("-finished_at")
        .values_list("created_at", "finished_at", "computed_ms", "attempts")[:_RATES_RUNS]
    )
    hops = [
        (taken - computed) / attempts
        for created, finished, computed, attempts in rows
        if (taken := milliseconds(created, finished)) is not None and computed is not None
    ]
    joins = [
        took
        for ready, finished in RunStep.objects.filter(
            kind=StepKind.JOIN, state=StepState.DONE, run__state=RunState.SUCCEEDED
        )
        .order_by("-pk")
        .values_list("ready_at", "finished_at")[:_RATES_RUNS]
        if (took := milliseconds(ready, finished)) is not None
    ]
    rates = costs.Rates()
    if hops:
        rates = dataclasses.replace(rates, hop_ms=statistics.median(hops), hop_samples=len(hops))
    if joins:
        rates = dataclasses.replace(
            rates, join_ms=statistics.median(joins), join_samples=len(joins)
        )
    return rates
