"""What of a graph decides how its answers are proved: forms that backends get wrong, random numbers, halves.

The forms are those of `browsers/core/answers/bad_forms.py`, which says who gets them wrong, and how. Values
are followed through operators that hand them on: where a divisor or an index comes from decides. What is
fixed is the same for all inputs of the same shapes, and is therefore tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from inference.documents import JsonView
from inference.graph.structure import bodies
from inference.graph.types import Typed, infer_types

INTEGER_DIVISION: Final = "integer_division"
INTEGER_POWER: Final = "integer_power"
LAST_INDEX_OF_TIES: Final = "last_index_of_ties"
UNCHECKED_INDEX: Final = "unchecked_index"
SCATTER_ORDER: Final = "scatter_order"
CHOSEN_BRANCH: Final = "chosen_branch"
ALL: Final = frozenset(
    {INTEGER_DIVISION, INTEGER_POWER, LAST_INDEX_OF_TIES, UNCHECKED_INDEX, SCATTER_ORDER, CHOSEN_BRANCH}
)  # fmt: skip

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)  # fmt: skip
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_INTEGERS = frozenset(
    {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
     TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
)  # fmt: skip
# What comes out are elements of the first input.
_DATA_FIRST = frozenset(
    {"Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
     "Unsqueeze"}
)  # fmt: skip
_OF_SHAPES = frozenset({"Shape", "Size"})
# Operators whose output's sizes depend on values, and inputs that say sizes.
_SIZED_BY_VALUES = frozenset({"Compress", "NonMaxSuppression", "NonZero", "StringSplit", "Unique"})
_SIZE_INPUTS: Mapping[str, tuple[int, ...]] = {
    "CenterCropPad": (1,), "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 3),
    "Range": (0, 1, 2), "Reshape": (1,), "Resize": (2, 3), "Slice": (1, 2, 3, 4), "Split": (1,),
    "Squeeze": (1,), "Tile": (1,), "TopK": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip
# Position of the table and of the indices, and the attribute with the axis; None: along several.
_LOOKS_UP: Mapping[str, tuple[int, int, str | None]] = {
    "Gather": (0, 1, "axis"), "GatherElements": (0, 1, "axis"), "GatherND": (0, 1, None),
    "GatherBlockQuantized": (0, 1, "gather_axis"), "Scatter": (0, 1, "axis"),
    "ScatterElements": (0, 1, "axis"), "ScatterND": (0, 1, None), "TensorScatter": (0, 2, None),
}  # fmt: skip
_SCATTERS = frozenset({"Scatter", "ScatterElements", "ScatterND", "TensorScatter"})
# Tables and indices of an operator with several, each along the first axis.
_EMBEDDINGS = ((2, 0), (4, 1), (3, 8))
# Inputs that say places in a cache or a table, whose bounds depend on more than the table.
_PLACES: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("com.microsoft", "RotaryEmbedding"): (1,), ("", "RotaryEmbedding"): (3,),
    ("com.microsoft", "GroupQueryAttention"): (5, 6), ("", "Attention"): (6,),
    ("com.microsoft", "DecoderMaskedMultiHeadAttention"): (6, 7),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Traits:
    """What was found.

    Attributes:
        forms: those that it holds.
        index_limits: inputs that are looked up in a table as they come → the table's length.
        random: operators that draw random numbers.
        halves: whether it computes with float16 or bfloat16 somewhere.
        narrows: whether computed floats are cast to integers, which may not hold them.
    """

    forms: frozenset[str]
    index_limits: Mapping[str, int]
    random: tuple[str, ...]
    halves: bool
    narrows: bool


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


@dataclasses.dataclass(frozen=True)
class _Value:
    """A tensor where it stands.

    Attributes:
        constant: its content, where that is written in the file.
        loose: its sizes depend on values.
        of_sizes: it is made of sizes, if it is fixed and no constant.
        typed: type inference knows it: it is not of a body.
    """

    source: _Source = _MADE
    constant: onnx.TensorProto | None = None
    loose: bool = False
    of_sizes: bool = False
    typed: bool = False


_ABSENT = _Value(_FIXED)
_Scope = dict[str, _Value]


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
        self._halves = self._narrows = False

    def read(self) -> Traits:
        graph = self._model.graph
        given = {item.name for item in graph.input}
        if (
            self._model.ir_version < 4
        ):  # until then weights were listed as inputs, and could not be given
            given -= {tensor.name for tensor in graph.initializer}
        scope = {name: _Value(_Source(frozenset({name})), typed=True) for name in given}
        self._graph(graph, scope, typed=True)
        self._halves = self._halves or any(
            item.type.tensor_type.elem_type in _HALVES for item in (*graph.input, *graph.output)
        )
        for function in self._model.functions:  # of another operator set: they are not inlined
            self._forms |= ALL
            self._random |= {node.op_type for node in _all_nodes(function.node)} & _RANDOM
        return Traits(
            frozenset(self._forms), dict(self._limits), tuple(sorted(self._random)), self._halves,
            self._narrows,
        )  # fmt: skip

    def _graph(self, graph: onnx.GraphProto, scope: _Scope, *, typed: bool) -> None:
        for tensor in graph.initializer:
            self._halves = self._halves or tensor.data_type in _HALVES
            if not (typed and tensor.name in scope):  # one that may be given is no constant
                scope[tensor.name] = _Value(_FIXED, constant=tensor, typed=typed)
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = _Value(_FIXED, typed=typed)
        for node in graph.node:
            self._node(node, scope, typed=typed)

    def _node(self, node: onnx.NodeProto, scope: _Scope, *, typed: bool) -> None:
        fields = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        taken = [scope.get(name, _Value()) if name else _ABSENT for name in node.input]
        self._note_forms(node, fields, taken)
        for body in bodies(node):
            inner = {**scope, **{item.name: _Value() for item in body.input}}
            self._graph(body, inner, typed=False)
        made = _Value(
            self._source(node, fields, taken),
            _constant(node, fields),
            _is_loose(node, taken),
            node.op_type in _OF_SHAPES or any(value.of_sizes for value in taken),
            typed,
        )
        if made.constant is not None:
            self._halves = self._halves or made.constant.data_type in _HALVES
        if node.op_type == "Cast" and fields.get("to") in _HALVES:
            self._halves = True
        for name in node.output:
            scope[name] = made
        if node.op_type == "TopK" and len(node.output) > 1:
            place = self._place(node.input[0], taken[0], fields.get("axis", -1))
            scope[node.output[1]] = dataclasses.replace(made, source=place)

    # --- where values come from -----------------------------------------------------------------

    def _source(self, node: onnx.NodeProto, fields: JsonView, taken: Sequence[_Value]) -> _Source:
        kind = node.op_type
        if kind in _OF_SHAPES:
            return _MADE if taken[0].loose else _FIXED
        if kind in _RANDOM or _trains(node, taken):
            self._random.add(kind)
            return _MADE
        if any(bodies(node)) or node.domain not in ("", "ai.onnx"):
            return _MADE
        if kind == "Cast" and self._dtype(node.input[0], taken[0]) in ("", "string"):
            return _FIXED if taken[0].source.fixed else _MADE
        if kind in _DATA_FIRST and taken:
            return taken[0].source
        if kind == "Concat":
            return _all(value.source for value in taken)
        if kind in ("ArgMax", "ArgMin"):
            return self._place(node.input[0], taken[0], fields.get("axis", 0))
        nothing = kind == "Mul" and any(_is_integer_zero(value.constant) for value in taken)
        return _FIXED if nothing or all(value.source.fixed for value in taken) else _MADE

    def _place(self, name: str, value: _Value, axis: int) -> _Source:
        """What says where on an axis something is."""
        size = self._size(name, value, axis)
        return _MADE if size is None else _Source(below=frozenset({size}))

    def _size(self, name: str, value: _Value, axis: int) -> int | str | None:
        """The size of an axis; None: not known."""
        found = self._types.get(name) if value.typed else None
        dims = found.shape if found else None
        if value.constant is not None:
            dims = tuple(value.constant.dims)
        return dims[axis] if dims is not None and -len(dims) <= axis < len(dims) else None

    def _dtype(self, name: str, value: _Value) -> str:
        """The element type; empty: not known."""
        if value.constant is not None:
            kind: str = TensorProto.DataType.Name(value.constant.data_type).lower()
            return {"float": "float32", "double": "float64"}.get(kind, kind)
        found = self._types.get(name) if value.typed else None
        return found.dtype if found else ""

    @cached_property
    def _types(self) -> dict[str, Typed]:
        graph = self._model.graph
        names = {item.name for item in graph.input} | {
            n for node in graph.node for n in node.output
        }
        return infer_types(self._model, names - {""})

    # --- what is noted ----------------------------------------------------------------------------

    def _note_forms(self, node: onnx.NodeProto, fields: JsonView, taken: Sequence[_Value]) -> None:
        kind = node.op_type
        if kind in ("Div", "Mod") and self._divides_integers(node, taken):
            self._forms.add(INTEGER_DIVISION)
        if (
            kind == "Pow"
            and not taken[0].source.fixed
            and not self._is_float(node.input[0], taken[0])
        ):
            self._forms.add(INTEGER_POWER)
        if kind in ("ArgMax", "ArgMin") and fields.get("select_last_index"):
            self._forms.add(LAST_INDEX_OF_TIES)
        if kind == "Loop" or (kind == "If" and not taken[0].source.fixed):
            self._forms.add(CHOSEN_BRANCH)
        if kind in _SCATTERS and not _distinct(kind, taken):
            self._forms.add(SCATTER_ORDER)
        self._note_casts(node, fields, taken)
        self._note_indices(node, fields, taken)

    def _note_casts(self, node: onnx.NodeProto, fields: JsonView, taken: Sequence[_Value]) -> None:
        to_integers = node.op_type == "Cast" and fields.get("to") in _INTEGERS
        if (to_integers or node.op_type == "CastLike") and not taken[0].source.fixed:
            dtype = self._dtype(node.input[0], taken[0])
            self._narrows = self._narrows or not dtype or dtype.startswith("float")

    def _note_indices(
        self, node: onnx.NodeProto, fields: JsonView, taken: Sequence[_Value]
    ) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        for at in _PLACES.get((domain, node.op_type), ()):
            if at < len(taken) and not taken[at].source.fixed:
                self._forms.add(UNCHECKED_INDEX)
        if node.op_type == "EmbedLayerNormalization":
            for table, index in _EMBEDDINGS:
                if max(table, index) < len(taken) and node.input[index]:
                    self._note_index(node.input[table], taken[table], 0, taken[index].source)
        if node.op_type in _LOOKS_UP:
            table, index, attribute = _LOOKS_UP[node.op_type]
            if index < len(taken):
                axis = int(fields.get(attribute, 0)) if attribute else None
                self._note_index(node.input[table], taken[table], axis, taken[index].source)

    def _note_index(self, table: str, value: _Value, axis: int | None, index: _Source) -> None:
        """An index is as good as its source: fixed ones are tried, those of inputs can be checked."""
        if index.fixed:
            return
        size = None if axis is None else self._size(table, value, axis)
        checkable = not index.inputs or isinstance(size, int)
        if index.made or size is None or not checkable or index.below - {size}:
            self._forms.add(UNCHECKED_INDEX)
            return
        for name in index.inputs:
            assert isinstance(size, int)
            self._limits[name] = min(self._limits.get(name, size), size)

    def _divides_integers(self, node: onnx.NodeProto, taken: Sequence[_Value]) -> bool:
        divisor = taken[1]
        if self._is_float(node.input[1], divisor) or self._is_float(node.input[0], taken[0]):
            return False
        if divisor.constant is not None:
            values = numpy_helper.to_array(divisor.constant)
            return bool((values == 0).any() or (values == -1).any())
        return not (divisor.source.fixed and divisor.of_sizes)  # of sizes: tried with the same

    def _is_float(self, name: str, value: _Value) -> bool:
        return self._dtype(name, value).startswith(("float", "bfloat"))


def _is_loose(node: onnx.NodeProto, taken: Sequence[_Value]) -> bool:
    """Whether the sizes of what it makes depend on values."""
    if node.op_type in _SIZED_BY_VALUES or any(bodies(node)) or any(v.loose for v in taken):
        return True
    sizes = _SIZE_INPUTS.get(node.op_type, ())
    return any(at < len(taken) and not taken[at].source.fixed for at in sizes)


def _constant(node: onnx.NodeProto, fields: JsonView) -> onnx.TensorProto | None:
    if node.op_type != "Constant":
        return None
    if isinstance(fields.get("value"), onnx.TensorProto):
        return fields["value"]
    for name in ("value_int", "value_ints", "value_float", "value_floats"):
        if name in fields:
            kind = np.int64 if "int" in name else np.float32
            return numpy_helper.from_array(np.asarray(fields[name], kind))
    return None


def _all(sources: Iterable[_Source]) -> _Source:
    joined = _FIXED
    for source in sources:
        joined |= source
    return joined


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body.node)


def _is_integer_zero(tensor: onnx.TensorProto | None) -> bool:
    """An integer times this is 0, whatever it is."""
    if tensor is None or tensor.data_type not in _INTEGERS:
        return False
    return not numpy_helper.to_array(tensor).any()


def _distinct(kind: str, taken: Sequence[_Value]) -> bool:
    """Whether no place is written twice; only indices that the file holds can say so."""
    indices = taken[1].constant if kind != "TensorScatter" else None
    if indices is None or indices.data_type not in _INTEGERS:
        return False
    values = numpy_helper.to_array(indices)
    places = values.reshape(-1, values.shape[-1] if kind == "ScatterND" and values.ndim else 1)
    return bool((values >= 0).all()) and len(np.unique(places, axis=0)) == len(places)


def _trains(node: onnx.NodeProto, taken: Sequence[_Value]) -> bool:
    """Whether it is a Dropout that drops: only in training."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    mode = taken[2].constant
    return mode is None or bool(numpy_helper.to_array(mode).any())
