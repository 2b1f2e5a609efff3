"""Models that write text: what is known of one, its stages, and the memory that these take."""

from __future__ import annotations

from typing import Final

from browsers.core.residency import factor_of_weights
from inference.catalog import plans
from inference.catalog.decoder_plan import decoder_of
from inference.core.generation.stages import Stage
from inference.graph.decoding.states import bytes_per_position
from inference.models import OnnxModel, Plan, PlanShard, Strategy

__all__ = ["decoder_of", "plan_for", "planned_mb", "state_bytes"]

# A step's caches go into the engine and come out of it: both are there at once, and the page's own.
_COPIES: Final = 3


def plan_for(model: OnnxModel, stages: int) -> Plan:
    """A decoder cut into so many stages, made once and kept; step i's file is stage i.

    Raises:
        InvalidRequest: it writes no text, or has fewer layers than that.
    """
    return plans.ensure_plan(model, Strategy.DECODER, stages)


def state_bytes(step: PlanShard) -> int:
    """Bytes of a stage's caches per position.

    Raises:
        ValueError: it is no stage of a decoder.
    """
    if step.stage is None:
        raise ValueError(f"{step} is no stage of a decoder")
    return sum(bytes_per_position(state) for state in Stage.from_json(step.stage).states)


def planned_mb(step: PlanShard, positions: int, *, family: str, weights: str = "float32") -> float:
    """Memory of a stage on WebAssembly in a browser of that family: weights, and one session's caches."""
    held = step.weight_bytes * factor_of_weights(weights, family)
    return (held + _COPIES * state_bytes(step) * positions) / 1e6
