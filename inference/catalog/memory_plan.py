"""A model planned into browsers' memory, from its graph alone: no weights and no pool need be there.

What a browser holds is planned for WebAssembly, which needs least: its own memory, and so many bytes per byte
of weights as were measured for their precision (browsers/core/residency.py).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import onnx

from browsers.core.failures import Category
from browsers.core.residency import DEFAULT_BASELINE_MB, factor_of_weights, room_for_weights
from inference.core.fitting import Carried, DoesNotFit, Room, fit
from inference.errors import InvalidRequest
from inference.graph.cutting.cut import Cutter
from inference.graph.model import normalise
from inference.graph.steps import Step

_ENTRY = re.compile(r"(?P<kind>[a-z-]+)(:(?P<count>\d{1,9}))?(@(?P<gb>\d{1,9}(\.\d+)?))?")
_MOST_BROWSERS = 1000


class NoRoom(InvalidRequest):
    """The browsers' memory does not hold the model; the message says how much is missing."""

    status = 400
    category = Category.OUT_OF_MEMORY


@dataclasses.dataclass(frozen=True)
class Limit:
    """A browser, how much memory its processes may take, and its family."""

    browser: str
    memory_mb: float
    family: str = "chrome"


@dataclasses.dataclass(frozen=True)
class Placed:
    """A shard, the browser that is to hold it, and what that browser is planned with."""

    step: Step
    limit: Limit
    planned_mb: float


def parse_pool(
    text: str, *, family_of: Callable[[str], str], limits_mb: Mapping[str, float]
) -> list[Limit]:
    """`kind[:count][@GB]` by comma; where no limit is said, the family's counts.

    Raises:
        InvalidRequest: says what was expected; `family_of` raises ValueError for an unknown kind.
    """
    counted: Counter[str] = Counter()
    pool: list[Limit] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise InvalidRequest(f"pool: expected kind[:count][@GB] by comma, got {entry!r}")
        kind, gb = found["kind"], found["gb"]
        try:
            family = family_of(kind)
        except ValueError as error:
            raise InvalidRequest(f"pool: {error}") from error
        count = int(found["count"] or 1)
        if len(pool) + count > _MOST_BROWSERS:
            raise InvalidRequest(f"pool: expected at most {_MOST_BROWSERS} browsers, got {entry!r}")
        memory_mb = float(gb) * 1024 if gb else limits_mb[family]
        for _ in range(count):
            counted[kind] += 1
            pool.append(Limit(f"{kind}-{counted[kind]}", memory_mb, family))
    if not pool:
        raise InvalidRequest("pool: expected at least one browser, as kind[:count][@GB]")
    return pool


def plan_in_memory(
    model: onnx.ModelProto, pool: Sequence[Limit], *, weights: str = "float32"
) -> list[Placed]:
    """Layer shards for the browsers of a pool, each within its limit; the fullest as empty as can be.

    Args:
        model: its weights may be missing; its dimensions are named in place.
        weights: their precision, as the zoo names it: what they take in a browser depends on it.

    Raises:
        NoRoom: says how much is needed, there and missing.
    """
    normalise(model)
    cutter = Cutter(model)
    carried = Carried(cutter.carried(), cutter.boundaries.legal)
    limits = {limit.browser: limit for limit in pool}
    rooms = [
        Room(limit.browser, room_for_weights(limit.memory_mb, weights=weights, family=limit.family))
        for limit in pool
    ]
    try:
        stretches = fit(carried, rooms)
    except DoesNotFit as error:
        raise NoRoom(_shortage(error, pool, weights)) from error
    steps = cutter.plan_at([stretch.end for stretch in stretches[:-1]])
    return [
        _placed(step, limits[stretch.browser], weights)
        for step, stretch in zip(steps, stretches, strict=True)
    ]


def _placed(step: Step, limit: Limit, weights: str) -> Placed:
    model_mb = step.weight_bytes / 1e6 * factor_of_weights(weights, limit.family)
    return Placed(step, limit, DEFAULT_BASELINE_MB + model_mb)


def _shortage(error: DoesNotFit, pool: Sequence[Limit], weights: str) -> str:
    there_gb = sum(limit.memory_mb for limit in pool) / 1024
    factor = factor_of_weights(weights, pool[0].family)
    if error.largest > error.largest_room:
        what = (
            f"its largest uncuttable part has {error.largest / 1e9:.2f} GB of weights, and the largest "
            f"browser has room for {error.largest_room / 1e9:.2f} GB"
        )
    else:
        what = f"they have room for {error.room / 1e9:.2f} GB"
    missing = f"at least {error.missing * factor / 1e9:.1f} GB of memory are missing"
    if not error.missing:
        missing = (
            "that would do, but the model does not divide so: add a browser or raise the limits"
        )
    return (
        f"the model has {error.needed / 1e9:.2f} GB of weights in {weights}, about {factor:g} times that in "
        f"browsers; {len(pool)} browsers have {there_gb:.1f} GB of memory, and {what}: {missing}"
    )
