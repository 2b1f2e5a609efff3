"""Whether a batch may be split: a candidate axis from the ports' shapes, then proof, then trial.

1. The one dynamic dimension that is the first of inputs and outputs is taken for the batch.
2. `rows.proof` follows it through the graph. One small trial guards the proof: what it contradicts is not
   split.
3. What is not proved is tried with batches of several sizes, cut in several places: that shows where rows
   meet at those sizes, and nothing about others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from inference.core.comparisons.operators import operator_at_fault
from inference.documents import Array
from inference.graph.batching.batch_axis import BatchAxis, Verdict, refused
from inference.graph.batching.rows.proof import prove
from inference.graph.indexed import GraphIndex
from inference.graph.reference import equal, example_inputs
from inference.graph.spec import TensorSpec

if TYPE_CHECKING:
    import onnxruntime

_ROWS = 3
# Powers of two and others: what folds or groups rows shows at some of them.
_BATCHES = (_ROWS, 2, 5, 8, 17, 33, 64)
_SINGLE_ROWS = 8  # batches of up to so many are cut into single rows, too
# Sizes tried for the other dynamic dimensions: a deep convolutional net leaves nothing of a small image.
_SIZES = (8, 64, 224)
_MOST_ELEMENTS = 2**26  # in one input; larger trials are left out
_MOST_S = 20.0  # for all trials of a model


def batch_axis(
    graph: GraphIndex,
    runtime: onnxruntime.InferenceSession,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    clock: Callable[[], float] = time.monotonic,
) -> BatchAxis:
    """The verdict on a model's batch.

    Args:
        clock: seconds; trials of large batches are left out when they would take too long.
    """
    batch = _candidate(inputs, outputs)
    if batch is None:
        shown = ", ".join(f"{spec.name}{list(spec.shape)}" for spec in (*inputs, *outputs))
        return refused(f"its ports do not share one dynamic first dimension ({shown})")
    split = [spec.name for spec in inputs if spec.shape[:1] == (batch,) and not spec.optional]
    unproved = prove(graph, inputs, split)
    trial = _Trial(graph.model, runtime, inputs, outputs, batch, split)
    if not unproved:
        mixed = trial.first()
        if mixed.contradicts:
            return refused(mixed.reason)
        return BatchAxis(Verdict.PROVED, tuple(split), tried=mixed.tried)
    found = trial.all_sizes(clock)
    if found.contradicts or not found.tried:
        return refused(found.reason)
    return BatchAxis(Verdict.TRIED, tuple(split), unproved, found.tried)


class _Found:
    """What trials showed: which sizes, and what is wrong; `contradicts`: rows do influence one another."""

    def __init__(self) -> None:
        self.tried: tuple[int, ...] = ()
        self.reason = ""
        self.contradicts = False

    def no(self, reason: str) -> _Found:
        self.reason, self.contradicts = reason, True
        return self


class _Trial:
    """Batches run together and apart, and their answers compared."""

    def __init__(
        self,
        model: onnx.ModelProto,
        runtime: onnxruntime.InferenceSession,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        batch: str,
        split: Sequence[str],
    ) -> None:
        self._model, self._runtime = model, runtime
        self._inputs, self._outputs = inputs, outputs
        self._batch, self._split = batch, split
        self._other = _SIZES[0]

    def first(self) -> _Found:
        """A small batch, with the first size of other dimensions at which an answer tells anything."""
        found = _Found()
        for size in _SIZES:
            if (elements := self._elements(_ROWS, size)) > _MOST_ELEMENTS:
                large = f"a trial batch is too large to be tried: an input has {elements} elements"
                found.reason = found.reason or large
                break
            self._other = size
            try:
                together = self._example(_ROWS)
                whole = self._run(together)
            except Exception as error:  # onnxruntime raises types of its own per status code
                found.reason = found.reason or f"a trial batch did not run: {_said(error)}"
                continue
            if not all(map(_telling, whole)):
                nothing = "a trial batch gave answers that tell nothing (empty, or not finite)"
                found.reason = found.reason or nothing
                continue
            found.reason = ""
            return self._compared(found, _ROWS, together, whole)
        return found

    def all_sizes(self, clock: Callable[[], float]) -> _Found:
        began = clock()
        found = self.first()
        if found.contradicts or not found.tried:
            return found
        spent_per_row = (clock() - began) / _ROWS
        for rows in _BATCHES[1:]:
            longer = clock() - began + spent_per_row * rows
            if longer > _MOST_S or self._elements(rows, self._other) > _MOST_ELEMENTS:
                continue
            try:
                together = self._example(rows)
                whole = self._run(together)
            except Exception as error:
                return found.no(f"a trial batch of {rows} did not run: {_said(error)}")
            if self._compared(found, rows, together, whole).contradicts:
                break
        return found

    def _compared(
        self, found: _Found, rows: int, together: Mapping[str, Array], whole: Sequence[Array]
    ) -> _Found:
        for cut in _cuts(rows):
            try:
                parts = [self._run(self._part(together, piece)) for piece in cut]
            except Exception as error:
                return found.no(f"rows of a batch of {rows} do not run apart: {_said(error)}")
            if wrong := _mixed(self._outputs, whole, parts, rows):
                return found.no(wrong)
        found.tried = tuple(sorted((*found.tried, rows)))
        return found

    def _example(self, rows: int) -> dict[str, Array]:
        return example_inputs(
            self._model, self._inputs, seed=rows, dims={self._batch: rows}, other=self._other
        )

    def _part(self, together: Mapping[str, Array], piece: slice) -> dict[str, Array]:
        return {n: a[piece] if n in self._split else a for n, a in together.items()}

    def _run(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [np.asarray(output) for output in self._runtime.run(None, dict(inputs))]

    def _elements(self, rows: int, size: int) -> int:
        """Of the largest input, with every other dynamic dimension of that size."""
        sizes = {self._batch: rows}
        return max(
            math.prod(d if isinstance(d, int) else sizes.get(d, size) for d in spec.shape)
            for spec in self._inputs
        )


def _cuts(rows: int) -> Iterator[list[slice]]:
    """One row and the rest; two thirds and the rest; and single rows, if they are few."""
    for at in sorted({1, max(1, rows * 2 // 3)}):
        yield [slice(0, at), slice(at, rows)]
    if 2 < rows <= _SINGLE_ROWS:
        yield [slice(i, i + 1) for i in range(rows)]


def _mixed(
    outputs: Sequence[TensorSpec],
    whole: Sequence[Array],
    parts: Sequence[Sequence[Array]],
    rows: int,
) -> str:
    """Why the parts are not the whole; empty if they are."""
    for spec, answer, *pieces in zip(outputs, whole, *parts, strict=True):
        if answer.shape[:1] != (rows,) or any(not piece.shape for piece in pieces):
            return f"its output {spec.name!r} does not have one row per row of the batch"
        if any(piece.shape[1:] != answer.shape[1:] for piece in pieces) or not equal(
            np.concatenate(pieces), answer
        ):
            return (
                f"rows of a batch of {rows} influence one another: run apart they answer otherwise"
            )
    return ""


def _telling(answer: Array) -> bool:
    """Whether an answer shows anything: it is neither empty nor nothing but NaN and infinities."""
    return answer.size > 0 and (answer.dtype.kind != "f" or bool(np.isfinite(answer).any()))


def _candidate(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str | None:
    """The dynamic dimension that is the first of inputs and outputs, and nowhere another axis."""
    firsts = {s.shape[0] for s in inputs if s.shape and not s.optional}
    named = {dim for dim in firsts if isinstance(dim, str)}
    ends = {spec.shape[0] if spec.shape else None for spec in outputs}
    if any(not isinstance(dim, str) for dim in ends):
        return None  # an output of fixed size
    shared = named & ends or named
    inner = {dim for spec in (*inputs, *outputs) for dim in spec.shape[1:]}
    found = sorted(dim for dim in shared - inner if isinstance(dim, str))
    return found[0] if len(found) == 1 else None


def _said(error: Exception) -> str:
    """In words: what onnxruntime says of an operator are places in its own source."""
    if at_fault := operator_at_fault(str(error)):
        return (
            f"onnxruntime cannot compute {at_fault} with sizes that are tried for all models alike"
        )
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
