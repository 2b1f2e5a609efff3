"""Whether onnxruntime's own answer hangs on rounding: then it is no measure for a browser's.

A normalisation of nearly equal numbers, say, multiplies the last bits of a sum until they show. Every
implementation answers otherwise then, onnxruntime itself with another batch.

1. The first row is asked alone, for which onnxruntime adds up in another order. Where it comes out the same,
   within the tolerance, nothing more is asked.
2. Else rows belong together, or rounding shows. Which of them says the same model with the last bit of each
   float weight turned round: an answer that this moves by more than a tenth of the tolerance is not steady.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from browsers.core.answers.agreement import SINGLE
from inference.documents import Array
from inference.graph.model import load
from inference.graph.reference import largest_difference
from inference.graph.runtime import session
from inference.graph.spec import TensorSpec

_SHARE: Final = 0.1
_MOST_BYTES: Final = 256 * 2**20  # of a file: it is held several times
_WORDS: Final = {"float16": np.uint16, "float32": np.uint32, "float64": np.uint64}
Arrays = Mapping[str, Array]


class Steadiness:
    """Of one file's answers, `runtime` being its session."""

    def __init__(self, path: Path, runtime: onnxruntime.InferenceSession) -> None:
        self._path, self._runtime = path, runtime
        self._shaken: onnxruntime.InferenceSession | None = None

    def doubt(self, taken: Sequence[TensorSpec], inputs: Arrays, outputs: Arrays) -> str:
        """Why the answer is no measure; empty: nothing speaks against it, or that cannot be found out."""
        if self._first_row_moves(taken, inputs, outputs) <= SINGLE:
            return ""
        if self._path.stat().st_size > _MOST_BYTES:
            return ""
        try:
            moved = _moved(self._answered_shaken(inputs, outputs), outputs)
        except (
            Exception
        ):  # the file was not made for such weights, or does not fit into memory twice
            return ""
        if moved <= _SHARE * SINGLE:
            return ""
        return (
            f"onnxruntime's own answer to such inputs is not steady: it moves by {moved:.1g} of its largest "
            "number where the last bit of each weight does, and with the size of the batch"
        )

    def _answered_shaken(self, inputs: Arrays, outputs: Arrays) -> dict[str, Array]:
        if self._shaken is None:
            self._shaken = session(shaken(load(self._path)).SerializeToString())
        return _run(self._shaken, inputs, outputs)

    def _first_row_moves(
        self, taken: Sequence[TensorSpec], inputs: Arrays, outputs: Arrays
    ) -> float:
        """By how much it comes out otherwise alone; 0 where there are no rows."""
        free = {port.name for port in taken if port.shape and isinstance(port.shape[0], str)}
        rows = {inputs[name].shape[0] for name in free if name in inputs}
        if len(rows) != 1 or min(rows) < 2:
            return 0.0
        alone = {name: array[:1] if name in free else array for name, array in inputs.items()}
        try:
            got = _run(self._runtime, alone, outputs)
        except Exception:  # whatever a graph makes of fewer rows: it was not made for them
            return 0.0
        (count,) = rows
        return _moved(
            {name: array for name, array in got.items() if array.shape[:1] == (1,)},
            {name: array[:1] for name, array in outputs.items() if array.shape[:1] == (count,)},
        )


def shaken(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, whose own weights are changed: the last bit of each float that is not zero."""
    for item in model.graph.initializer:
        array = numpy_helper.to_array(item)
        if words := _WORDS.get(str(array.dtype)):
            bits = array.copy().view(words)
            bits[(array != 0) & np.isfinite(array)] ^= words(1)
            item.CopyFrom(numpy_helper.from_array(bits.view(array.dtype), item.name))
    return model


def _run(
    runtime: onnxruntime.InferenceSession, inputs: Arrays, outputs: Arrays
) -> dict[str, Array]:
    names = list(outputs)
    return dict(zip(names, map(np.asarray, runtime.run(names, dict(inputs))), strict=True))


def _moved(got: Arrays, want: Arrays) -> float:
    """The largest difference of floats, as a share of each tensor's largest number or 1."""
    return max(
        (
            largest_difference(got[name], array) / max(1.0, float(np.abs(array).max(initial=0.0)))
            for name, array in want.items()
            if name in got and array.dtype.kind == "f" and np.isfinite(array).all()
        ),
        default=0.0,
    )
