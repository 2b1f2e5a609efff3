"""In which ways a comparison runs a model: whole, as its components are wired, or cut as was asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from inference.catalog import plans
from inference.catalog.component_plan import default_strategy
from inference.errors import InvalidRequest
from inference.models import OnnxModel, PlanStep, StepKind, Strategy
from inference.runs.options import STRATEGIES

_FORM: Final = re.compile(r"(?P<strategy>[a-z_]+)(?::(?P<shards>[1-9]\d{0,3}))?")
# What a run can be asked for; `auto` would choose another way in each cell.
_STRATEGIES: Final = tuple(name for name in STRATEGIES if name != Strategy.AUTO)
_MOST: Final = 10
# Nobody asks for another number of shards of these.
_ONE_WAY: Final = (Strategy.NONE, *plans.FIXED_BY_GRAPH)


@dataclasses.dataclass(frozen=True)
class Way:
    """A strategy, and into how many shards; None: the strategy leaves no choice."""

    strategy: str
    shards: int | None

    def __str__(self) -> str:
        return self.strategy if self.shards is None else f"{self.strategy}:{self.shards}"


def read(text: str) -> Way:
    """`none`, `layer:2`.

    Raises:
        InvalidRequest: another form, or no such strategy.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InvalidRequest(
            f"strategies: expected STRATEGY or STRATEGY:SHARDS, such as layer:2, got {text!r:.100}"
        )
    strategy, shards = found["strategy"], found["shards"]
    if strategy not in _STRATEGIES:
        raise InvalidRequest(
            f"strategies: expected of {', '.join(_STRATEGIES)}, got {strategy!r:.100}"
        )
    if shards and strategy in _ONE_WAY:
        raise InvalidRequest(f"strategies: {strategy} takes no number of shards, got {text!r:.100}")
    return Way(strategy, int(shards) if shards else None)


def named(model: OnnxModel, texts: Sequence[str], tenant: str) -> list[str]:
    """The ways that were asked for, each once, cut now if they never were; none asked: as the model runs.

    Raises:
        InvalidRequest, Busy: too many, else as `plans.ensure_plan`.
    """
    if len(texts) > _MOST:
        raise InvalidRequest(f"strategies: expected at most {_MOST}, got {len(texts)}")
    ways = [read(text) for text in texts] or [Way(default_strategy(model, None), None)]
    return list(dict.fromkeys(str(_settled(model, way, tenant)) for way in ways))


def _settled(model: OnnxModel, way: Way, tenant: str) -> Way:
    count = plans.usual_shards(way.strategy, way.shards)
    plan, _ = plans.cached_plan(model, way.strategy, count, tenant=tenant)
    return Way(way.strategy, None if way.strategy in _ONE_WAY else plan.num_shards)


def shards_of(model: OnnxModel, way: Way, tenant: str = "") -> list[PlanStep]:
    """What browsers compute of the model in that way.

    Raises:
        InvalidRequest, Busy: as `plans.ensure_plan`.
    """
    count = plans.usual_shards(way.strategy, way.shards)
    _, steps = plans.cached_plan(model, way.strategy, count, tenant=tenant)
    return [step for step in steps if step.kind == StepKind.COMPUTE]
