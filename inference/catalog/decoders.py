"""Models that write text: what is known of one, and its stages."""

from __future__ import annotations

from inference.catalog import plans
from inference.catalog.decoder_plan import decoder_of
from inference.models import OnnxModel, Plan, Strategy

__all__ = ["decoder_of", "plan_for"]


def plan_for(model: OnnxModel, stages: int) -> Plan:
    """A decoder cut into so many stages, made once and kept; step i's file is stage i.

    Raises:
        InvalidRequest: it writes no text, or has fewer layers than that.
    """
    return plans.ensure_plan(model, Strategy.DECODER, stages)
