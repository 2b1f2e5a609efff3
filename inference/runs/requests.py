"""What a caller asks for, and what that means in this pool: a strategy, a plan, browsers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import redis.exceptions
from django.conf import settings

from browsers import locations
from browsers.core.naming import means
from browsers.redis import place
from inference.catalog import known_answers, plans
from inference.catalog.component_plan import check_strategy, default_strategy
from inference.core.placement import BrowserView
from inference.documents import JsonObject
from inference.errors import InvalidRequest, Unavailable, UnknownBrowser
from inference.models import OnnxModel, Plan, PlanStep, Redundancy, StepKind, Strategy
from inference.runs import auto, quotas
from inference.scheduling.pool_view import absent, snapshot
from inference.scheduling.wishes import check_wishes
from inference.store.tensors import WireTensor


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What a caller asks for.

    Attributes:
        model: name of a registered model.
        inputs: wire tensors, one per model input; inputs with a declared default may be missing.
        strategy … deadline_s: as `inference.runs.options` declares them; empty or None: left out.
        owner: user or API key, for the record.
        tenant: whose share of the pool it takes; empty: the owner's.
        filled_in: what the door added to what the caller sent, one sentence each.
    """

    model: str
    inputs: Sequence[WireTensor]
    strategy: str = ""
    shards: int | None = None
    data_parallel: int = 1
    allow_unproved_split: bool = False
    browsers: tuple[str, ...] = ()
    platform: str = ""
    pins: Mapping[int, str] = dataclasses.field(default_factory=dict)
    strict: bool = False
    critical: bool = False
    redundancy: str = ""
    max_retries: int | None = None
    deadline_s: float | None = None
    owner: str = ""
    tenant: str = ""
    filled_in: tuple[str, ...] = ()


def pool_for(request: RunRequest) -> list[BrowserView]:
    """The pool as it is now.

    Raises:
        InvalidRequest, UnknownBrowser: the request names what this pool does not have.
        Unavailable: Redis does not answer, or no browser is there.
    """
    try:
        pool = snapshot()
    except redis.exceptions.RedisError as error:
        raise Unavailable(
            f"Redis at {place(settings.WEBPOOL_REDIS_URL)} does not answer ({type(error).__name__}); start "
            f"the pool with `{locations.UP}`"
        ) from error
    try:
        check_wishes(request.browsers, request.platform, request.pins, pool)
    except UnknownBrowser:  # perhaps its worker is only down for now
        known = [*pool, *absent(pool)]
        check_wishes(request.browsers, request.platform, request.pins, known)
    if not pool:
        raise Unavailable(
            f"no browser is in the pool; start it with `{locations.UP}` and wait for ready"
        )
    return pool


def _shard_count(
    request: RunRequest, model: OnnxModel, pool: Sequence[BrowserView], rows: int | None
) -> int | None:
    """How many shards to plan; None where the graph decides."""
    if request.strategy in plans.FIXED_BY_GRAPH:
        return request.shards
    if request.strategy == Strategy.NONE:
        if request.shards not in (None, 1):
            raise InvalidRequest(
                f"shards={request.shards} needs a strategy: layer or data (got none)"
            )
        return 1
    if request.shards is not None:
        return request.shards
    if request.strategy == Strategy.TENSOR:
        return plans.usual_shards(request.strategy, None)
    if request.pins:
        return max(request.pins) // request.data_parallel + 1
    count = len(suitable(request, pool)) // request.data_parallel
    if request.strategy == Strategy.LAYER:
        count = min(count, model.max_shards)
    elif rows is not None:
        count = min(count, rows)
    return max(1, count)


def suitable(request: RunRequest, pool: Sequence[BrowserView]) -> list[BrowserView]:
    """The browsers of the pool that the request's names and platform leave."""
    return [
        browser
        for browser in pool
        if (not request.browsers or any(means(wish, browser) for wish in request.browsers))
        and (not request.platform or any(b.name == request.platform for b in browser.backends))
    ]


def resolve(
    request: RunRequest, model: OnnxModel, pool: Sequence[BrowserView], *, rows: int | None
) -> tuple[RunRequest, JsonObject | None]:
    """The request with a strategy that can be planned, and the prediction behind it, if it was `auto`.

    A model that is made of components runs in one way only: then there is nothing to predict.

    Raises:
        InvalidRequest: `auto` together with what it is to choose, or nothing is feasible.
    """
    if not request.strategy:
        strategy = default_strategy(model, request.shards)
        return dataclasses.replace(request, strategy=strategy), None
    if request.strategy != Strategy.AUTO:
        return request, None
    if request.shards is not None or request.pins or request.data_parallel > 1:
        raise InvalidRequest(
            "strategy auto chooses shards, copies and browsers; leave out shards, data_parallel and pins"
        )
    if model.components:
        return dataclasses.replace(request, strategy=Strategy.COMPONENT), None
    chosen = auto.decide(
        model,
        pool,
        browsers=request.browsers,
        platform=request.platform,
        rows=rows,
        allow_unproved_split=request.allow_unproved_split,
    )
    decided = dataclasses.replace(
        request,
        strategy=chosen.strategy,
        shards=chosen.shards,
        data_parallel=chosen.data_parallel,
    )
    return decided, chosen.explanation


def plan_for(
    request: RunRequest, model: OnnxModel, pool: Sequence[BrowserView], *, rows: int | None
) -> tuple[Plan, Sequence[PlanStep]]:
    """The plan with its shards, cut now if it never was; `rows` is the batch, None: not known.

    Raises:
        InvalidRequest: more shards than the graph or the batch allows, a pin for none of them, or what is
            drawn by chance shall be compared.
    """
    check_strategy(model, request.strategy, request.shards)
    count = _shard_count(request, model, pool, rows)
    quotas.check_shards(count, request.data_parallel, request.redundancy)
    parts = count if request.strategy == Strategy.DATA else request.data_parallel
    if rows is not None and parts is not None and parts > max(rows, 1):
        raise InvalidRequest(
            f"a batch of {rows} cannot be split into {parts} parts; send more rows or ask for fewer"
        )
    plan, steps = plans.cached_plan(
        model,
        request.strategy,
        count,
        request.data_parallel,
        allow_unproved_split=request.allow_unproved_split,
        tenant=request.tenant or request.owner,
    )
    shards = [step.index for step in steps if step.kind == StepKind.COMPUTE]
    beyond = sorted(set(request.pins) - set(shards))
    if beyond:
        raise InvalidRequest(
            f"pin for shard {beyond[0]}: the run has {len(shards)}, numbered {_numbers(shards)}"
        )
    if request.redundancy == Redundancy.COMPARE:
        _check_comparable(steps)
    return plan, steps


def _check_comparable(steps: Sequence[PlanStep]) -> None:
    for step in steps:
        if step.kind == StepKind.COMPUTE and known_answers.known(step.sha256).random:
            raise InvalidRequest(
                f"redundancy=compare: shard {step.index} draws random numbers, so that no two browsers "
                "answer alike; ask without it"
            )


def _numbers(indices: Sequence[int]) -> str:
    if len(indices) == indices[-1] + 1:
        return f"0 to {indices[-1]}"
    return ", ".join(map(str, indices))
