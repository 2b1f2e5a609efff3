"""Split the matrices of a model over several browsers, which compute parts of one layer at the same time.

1. `regions` finds what can be computed in parts: an attention by heads, two products and what lies between
   them by the columns of the first and the rows of the second, a large product alone by its columns.
2. `divide` writes each region once for every part, with slices of the weights, and joins behind it:
   summands are added, columns put behind one another.
3. What lies between is not split: steps that one browser computes.

So a plan's steps are, again and again: one whole step, the parts of a group side by side, their joins.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from inference.graph.cutting.assemble import assemble
from inference.graph.indexed import GraphIndex
from inference.graph.model import load, normalise
from inference.graph.splitting.divide import divide
from inference.graph.steps import Step


def plan_tensor(path: Path, parts: int) -> list[Step]:
    """The steps for a model file; same file and number, same plan.

    Raises:
        InvalidModel: the file cannot be read.
        NothingToSplit: it has no product with weights that could be split.
        TooManyParts: names the maximum, such as the number of heads.
    """
    return plan_parts(load(path), parts)


def plan_parts(model: onnx.ModelProto, parts: int) -> list[Step]:
    """The same for a graph in memory, whose weights need not be there; it is normalised in place."""
    normalise(model)
    divided = divide(GraphIndex(model), parts)
    return assemble(divided.graph, divided.pieces)
