"""A port of a model or shard: name, element type and shape."""

from __future__ import annotations

import dataclasses

import onnx
from onnx import TensorProto

from inference.documents import JsonObject, JsonView

_NAMES: dict[int, str] = {
    TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64",
    TensorProto.INT8: "int8", TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16", TensorProto.UINT16: "uint16", TensorProto.INT32: "int32",
    TensorProto.UINT32: "uint32", TensorProto.INT64: "int64", TensorProto.UINT64: "uint64",
    TensorProto.BOOL: "bool", TensorProto.STRING: "string",
}  # fmt: skip
_CODES = {name: code for code, name in _NAMES.items()}
# onnxruntime's own words for element types, as in "tensor(float)".
_RUNTIME = {"float": "float32", "double": "float64"}


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A tensor port.

    Attributes:
        dtype: ONNX element type, such as float32, int64, bool, string.
        shape: sizes; a str names a symbolic dimension. Every dynamic dimension has a name.
        optional: the model has a default for it, so that it may be left out.
        default: how a missing input is filled in, such as "ones_like:input_ids".
        any_rank: between shards only: not even the rank is known before a run (what a Loop returns);
            shape is () then.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    optional: bool = False
    default: str | None = None
    any_rank: bool = False

    @property
    def like(self) -> str | None:
        """The input whose shape it gets where it is left out; None: it has no such default."""
        kind, _, source = (self.default or "").partition(":")
        return source if kind in ("ones_like", "zeros_like") else None

    @classmethod
    def from_json(cls, item: JsonView) -> TensorSpec:
        return cls(
            item["name"],
            item["dtype"],
            tuple(item["shape"]),
            item.get("optional", False),
            item.get("default"),
            item.get("any_rank", False),
        )

    def to_json(self) -> JsonObject:
        return {**dataclasses.asdict(self), "shape": list(self.shape)}

    def value_info(self) -> onnx.ValueInfoProto:
        shape = None if self.any_rank else list(self.shape)
        return onnx.helper.make_tensor_value_info(self.name, _CODES[self.dtype], shape)


def dtype_of(code: int) -> str:
    """The name of an ONNX element type.

    Raises:
        KeyError: a type that has no form on the way to a browser, such as bfloat16 or int4.
    """
    return _NAMES[code]


def dtype_of_runtime(text: str) -> str | None:
    """onnxruntime's "tensor(float)" as float32; None for sequences, maps and optionals."""
    if not text.startswith("tensor("):
        return None
    name = text[len("tensor(") : -1]
    name = _RUNTIME.get(name, name)
    return name if name in _CODES else None
