"""Items of a file as arrays of a model's types, made where the file is read: in the sandbox.

A row is what a caller wrote for one item, input name → nested lists. Names that the model does not have are
handed on, for whoever knows the model to refuse, or to take as text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from inference.conversion.documents import Bounds, parse
from inference.conversion.exact import array_of
from inference.documents import Array, JsonObject
from inference.errors import InvalidRequest

TEXT: Final = "text"


@dataclasses.dataclass(frozen=True)
class Row:
    """One item: `arrays` of the names that the model has, `others` as they came; or why it is none."""

    arrays: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    others: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    error: str = ""


def from_line(raw: bytes, types: Mapping[str, str], bounds: Mapping[str, int]) -> Row:
    """A line of JSON; `types`: ONNX type by name."""
    try:
        values = parse(raw, Bounds(**bounds))
    except InvalidRequest as error:
        return Row(error=str(error))
    if not isinstance(values, dict):
        found = type(values).__name__
        return Row(error=f"expected an object of input name → list, got {found}")
    return from_values(values, types, json=True)


def from_values(values: JsonObject, types: Mapping[str, str], *, json: bool = False) -> Row:
    """Nested lists by name; `json`: they were read from JSON."""
    if others := [name for name in values if name not in types]:
        if others == [TEXT] == list(values) and not isinstance(values[TEXT], str):
            return Row(error=f"{TEXT!r}: expected a string, got {values[TEXT]!r:.80}")
        return Row(others={name: _plain(values[name]) for name in values})
    try:
        return Row(
            {name: array_of(name, each, types[name], json=json) for name, each in values.items()}
        )
    except InvalidRequest as error:
        return Row(error=str(error))


def _plain(value: object) -> str | None:
    return value if isinstance(value, str) else None
