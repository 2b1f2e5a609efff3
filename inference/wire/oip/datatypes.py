"""The words of the protocol: its datatypes, its header, the kinds of JSON values."""

from __future__ import annotations

from collections.abc import Mapping

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "string",
}
NAMES: Mapping[str, str] = {dtype: name for name, dtype in DATATYPES.items()}
HEADER_LENGTH = "Inference-Header-Content-Length"

type_of_parameter = str | int | float | bool


def kind_of(value: object, *, missing: bool = False) -> str:
    """A JSON value's kind, for a message; `missing`: there is none."""
    if missing:
        return "nothing"
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true/false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")
