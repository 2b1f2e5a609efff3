"""What of a graph decides how its answers are proved: forms that backends get wrong, random numbers, halves.

The forms are those of `browsers/core/answers/bad_forms.py`, which says who gets them wrong, and how. Values
are followed through operators that hand them on: where a divisor or an index comes from decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from inference.graph.structure import bodies
from inference.graph.types import Typed, infer_types

INTEGER_DIVISION: Final = "integer_division"
LAST_INDEX_OF_TIES: Final = "last_index_of_ties"
UNCHECKED_INDEX: Final = "unchecked_index"
CHOSEN_BRANCH: Final = "chosen_branch"

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)  # fmt: skip
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_DATA_FIRST = frozenset(
    {"Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
     "Unsqueeze"}
)  # fmt: skip
_OF_SHAPES = frozenset({"Shape", "Size"})
# Position of the table and of the indices, and whether an index is along one axis only.
_LOOKS_UP: Mapping[str, tuple[int, int, bool]] = {
    "Gather": (0, 1, True), "GatherElements": (0, 1, True), "GatherBlockQuantized": (0, 1, True),
    "GatherND": (0, 1, False), "Scatter": (0, 1, True), "ScatterElements": (0, 1, True),
    "ScatterND": (0, 1, False), "TensorScatter": (0, 2, False),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Traits:
    """What was found.

    Attributes:
        forms: those that it holds.
        index_limits: inputs that are looked up in a table as they come → the table's length.
        random: operators that draw random numbers.
        halves: whether it computes with float16 or bfloat16 somewhere.
    """

    forms: frozenset[str]
    index_limits: Mapping[str, int]
    random: tuple[str, ...]
    halves: bool


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where values come from, if not from constants and sizes alone.

    Attributes:
        inputs: they are elements of these inputs, as they came.
        below: they are places on axes of these sizes (ArgMax, TopK).
        made: they are computed.
    """

    inputs: frozenset[str] = frozenset()
    below: frozenset[int | str] = frozenset()
    made: bool = False

    def __or__(self, other: _Source) -> _Source:
        return _Source(
            self.inputs | other.inputs, self.below | other.below, self.made or other.made
        )

    @property
    def fixed(self) -> bool:
        """Whether it is the same for all inputs of the same shapes."""
        return self == _Source()


_FIXED = _Source()
_MADE = _Source(made=True)


def traits(model: onnx.ModelProto) -> Traits:
    """Read a graph; local functions are looked into, and so are the bodies of control flow."""
    if model.functions:
        model = inline_local_functions(model)
    return _Reader(model).read()


class _Reader:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._forms: set[str] = set()
        self._limits: dict[str, int] = {}
        self._random: set[str] = set()
        self._halves = False
        self._constants: dict[str, onnx.TensorProto] = {}

    def read(self) -> Traits:
        graph = self._model.graph
        listed = {item.name for item in graph.input}
        known = {name: _Source(frozenset({name})) for name in listed}
        self._graph(graph, known)
        self._halves = self._halves or any(
            item.type.tensor_type.elem_type in _HALVES for item in (*graph.input, *graph.output)
        )
        return Traits(
            frozenset(self._forms), dict(self._limits), tuple(sorted(self._random)), self._halves
        )

    def _graph(self, graph: onnx.GraphProto, known: dict[str, _Source]) -> None:
        for tensor in graph.initializer:
            known.setdefault(tensor.name, _FIXED)
            self._take(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            known.setdefault(sparse.values.name, _FIXED)
        for node in graph.node:
            self._node(node, known)

    def _take(self, name: str, tensor: onnx.TensorProto) -> None:
        self._constants[name] = tensor
        self._halves = self._halves or tensor.data_type in _HALVES

    def _node(self, node: onnx.NodeProto, known: dict[str, _Source]) -> None:
        fields = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        taken = [known.get(name, _MADE) if name else _FIXED for name in node.input]
        source = self._source(node, fields, taken)
        for name in node.output:
            known[name] = source
        if node.op_type == "TopK" and len(node.output) > 1:
            known[node.output[1]] = self._place(node, fields.get("axis", -1))
        if node.op_type == "Constant" and isinstance(fields.get("value"), onnx.TensorProto):
            self._take(node.output[0], fields["value"])
        if node.op_type == "Cast" and fields.get("to") in _HALVES:
            self._halves = True
        self._note_forms(node, fields, taken)
        for body in bodies(node):
            inner = {**known, **{item.name: _MADE for item in body.input}}
            self._graph(body, inner)

    def _source(
        self, node: onnx.NodeProto, fields: Mapping[str, Any], taken: Sequence[_Source]
    ) -> _Source:
        """Where the values of a node's outputs come from."""
        kind = node.op_type
        if kind in _OF_SHAPES:
            return _FIXED
        if kind in _RANDOM or _trains(node, self._constants):
            self._random.add(kind)
            return _MADE
        if any(bodies(node)):
            return _MADE
        if kind in _DATA_FIRST and taken:
            return taken[0]
        if kind == "Concat":
            return _all(taken)
        if kind in ("ArgMax", "ArgMin"):
            return self._place(node, fields.get("axis", 0))
        nothing = kind == "Mul" and any(map(self._is_integer_zero, node.input))
        return _FIXED if nothing or all(one.fixed for one in taken) else _MADE

    def _is_integer_zero(self, name: str) -> bool:
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type not in (TensorProto.INT32, TensorProto.INT64):
            return False
        return not numpy_helper.to_array(tensor).any()

    def _place(self, node: onnx.NodeProto, axis: int) -> _Source:
        """What says where on an axis of the first input something is."""
        size = self._size(node.input[0], axis)
        return _MADE if size is None else _Source(below=frozenset({size}))

    def _size(self, name: str, axis: int) -> int | str | None:
        """The size of an axis; None: not known."""
        constant = self._constants.get(name)
        found = self._types.get(name)
        dims = tuple(constant.dims) if constant is not None else found.shape if found else None
        return dims[axis] if dims is not None and -len(dims) <= axis < len(dims) else None

    @cached_property
    def _types(self) -> dict[str, Typed]:
        graph = self._model.graph
        names = {item.name for item in graph.input} | {
            n for node in graph.node for n in node.output
        }
        return infer_types(self._model, names - {""})

    def _note_forms(
        self, node: onnx.NodeProto, fields: Mapping[str, Any], taken: Sequence[_Source]
    ) -> None:
        kind = node.op_type
        if kind in ("Div", "Mod") and self._divides_integers(node, taken):
            self._forms.add(INTEGER_DIVISION)
        if kind in ("ArgMax", "ArgMin") and fields.get("select_last_index"):
            self._forms.add(LAST_INDEX_OF_TIES)
        if kind == "Loop" or (kind == "If" and not taken[0].fixed):
            self._forms.add(CHOSEN_BRANCH)
        if kind == "EmbedLayerNormalization":
            self._note_index(node.input[2], 0, taken[0])
            if len(node.input) > 4 and node.input[1]:
                self._note_index(node.input[4], 0, taken[1])
        if kind in _LOOKS_UP:
            table, index, one_axis = _LOOKS_UP[kind]
            self._note_index(
                node.input[table], int(fields.get("axis", 0)) if one_axis else None, taken[index]
            )

    def _note_index(self, table: str, axis: int | None, index: _Source) -> None:
        """An index is as good as its source: fixed ones are tried, those of inputs can be checked."""
        if index.fixed:
            return
        size = None if axis is None else self._size(table, axis)
        checkable = not index.inputs or isinstance(size, int)
        if index.made or size is None or not checkable or index.below - {size}:
            self._forms.add(UNCHECKED_INDEX)
            return
        for name in index.inputs:
            assert isinstance(size, int)
            self._limits[name] = min(self._limits.get(name, size), size)

    def _divides_integers(self, node: onnx.NodeProto, taken: Sequence[_Source]) -> bool:
        name = node.input[1]
        if taken[1].fixed and name not in self._constants:
            return False  # of sizes: tried with the same
        if name in self._constants:
            tensor = self._constants[name]
            if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, *_HALVES):
                return False
            values = numpy_helper.to_array(tensor)
            return bool((values == 0).any() or (values == -1).any())
        found = self._types.get(name)
        return found is None or not found.dtype.startswith("float")


def _all(sources: Iterable[_Source]) -> _Source:
    joined = _FIXED
    for source in sources:
        joined |= source
    return joined


def _trains(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether it is a Dropout that drops: only in training."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    mode = constants.get(node.input[2])
    return mode is None or bool(numpy_helper.to_array(mode).any())
