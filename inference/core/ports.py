"""Ports of models and shards, and what a join makes, as rows keep them: read here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from inference.documents import JsonObject, JsonView


@dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name: as the file has it.
        tensor: the name under which the run knows what goes through it; its own, unless it is wired.
        dtype: the ONNX element type, such as float32.
        shape: sizes; a str names a dynamic dimension.
        default: how a missing input is filled in, such as "ones_like:input_ids".
    """

    name: str
    tensor: str
    dtype: str
    shape: tuple[int | str, ...]
    default: str | None = None

    @classmethod
    def from_json(cls, item: JsonView) -> Port:
        name = item["name"]
        shape = tuple(item["shape"])
        return cls(name, item.get("tensor", name), item["dtype"], shape, item.get("default"))


@dataclass(frozen=True)
class Joined:
    """One tensor that a join makes.

    Attributes:
        op: "sum" or "concat".
        axis: of the concatenation; 0: rows of a batch.
        parts: the step that makes each partial tensor, and that tensor's name, in order.
    """

    tensor: str
    op: str
    axis: int | None
    parts: tuple[tuple[int, str], ...]

    @classmethod
    def from_json(cls, item: JsonView) -> Joined:
        parts = tuple((step, tensor) for step, tensor in item["parts"])
        return cls(item["tensor"], item["op"], item["axis"], parts)

    def to_json(self) -> JsonObject:
        return {**vars(self), "parts": [list(part) for part in self.parts]}

    def after(self, steps: int) -> Joined:
        """The same of a copy whose steps come so many later."""
        return replace(self, parts=tuple((step + steps, tensor) for step, tensor in self.parts))


def read_ports(items: Iterable[JsonView]) -> tuple[Port, ...]:
    return tuple(Port.from_json(item) for item in items)
