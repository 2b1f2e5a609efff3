"""The plan of a model made of components: one step for each, wired as its manifest says."""

from __future__ import annotations

import math

from inference.core.ports import Port, read_ports
from inference.errors import InvalidRequest
from inference.graph.costs import assumed, item_bytes
from inference.models import OnnxModel, PlanStep, Strategy


def default_strategy(model: OnnxModel, shards: int | None) -> str:
    """How a model runs when nobody says how: by its components, cut into as many shards as asked, whole."""
    if model.components:
        return Strategy.COMPONENT
    return Strategy.LAYER if shards is not None and shards > 1 else Strategy.NONE


def check_strategy(model: OnnxModel, strategy: str, num_shards: int | None) -> None:
    """Refuse a way that a model of components, or of one file, cannot go.

    Raises:
        InvalidRequest: says which ways it can.
    """
    count = len(model.components)
    if not count and strategy == Strategy.COMPONENT:
        raise InvalidRequest(
            f"model {model.name} is one file, not made of components: use another strategy, or "
            "register a manifest of several files"
        )
    if not count:
        return
    names = ", ".join(item["name"] for item in model.components)
    if strategy != Strategy.COMPONENT:
        raise InvalidRequest(
            f"model {model.name} is made of {count} components ({names}), which run by the strategy "
            f"component, got {strategy}; to cut or split one of them, register its file as a model"
        )
    if num_shards not in (None, count):
        raise InvalidRequest(
            f"model {model.name} has {count} shards, one for each component ({names}); got "
            f"shards={num_shards}: leave it out"
        )


def component_steps(model: OnnxModel) -> list[PlanStep]:
    """One step per component, in an order in which they can run."""
    seen: set[str] = set()
    given = {port.name for port in model.input_ports}
    steps = []
    for index, item in enumerate(model.components):
        steps.append(
            PlanStep(
                index=index,
                group=item["name"],
                work_type=item.get("type", ""),
                sha256=item["sha256"],
                file_bytes=item["file_bytes"],
                weight_bytes=item["weight_bytes"],
                copied_bytes=item["weight_bytes"] if item["sha256"] in seen else 0,
                cost=item["cost"],
                inputs=item["inputs"],
                outputs=item["outputs"],
                depends_on=item["depends_on"],
                node_count=item["node_count"],
                crossing_bytes=sum(
                    _example_bytes(port)
                    for port in read_ports(item["inputs"])
                    if port.tensor not in given
                ),
            )
        )
        seen.add(item["sha256"])
    return steps


def _example_bytes(port: Port) -> int:
    return math.prod(assumed(port.shape)) * item_bytes(port.dtype)
