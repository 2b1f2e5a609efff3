"""One item of a file as the tensors its model takes, checked; items that can be computed together."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping

import numpy as np

from inference.catalog import registry
from inference.catalog.tokenizer import Tokenizer
from inference.documents import Array, JsonView
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.runs.inputs import Prepared, from_python, prepare
from inference.sandbox.port_sizes import Count, tensor_bytes
from inference.store.ports import specs
from inference.store.tensors import decode_array

TEXT = "text"
_MOST_OPEN_BYTES = 256 * 2**20  # of items that wait for others of their shape


@dataclasses.dataclass(frozen=True)
class Item:
    """Tensors of one item, each with the model's batch axis.

    Attributes:
        split: names of the inputs whose first axis is the batch; empty where it cannot be split.
        rows: its length there.
        adds_axis: the item came without that axis, and its results go without it.
        nbytes: about what the tensors take, texts with their letters.
        filled_in: what was added, one sentence each.
    """

    tensors: Mapping[str, Array]
    split: frozenset[str]
    rows: int
    adds_axis: bool
    nbytes: int
    filled_in: tuple[str, ...] = ()

    @property
    def key(self) -> object:
        """Items of equal keys go together: same shapes, and the same values where none are split."""
        parts = [
            (name, array.dtype.str, array.shape)
            if name in self.split
            else (name, array.dtype.str, array.shape, _digest(array))
            for name, array in self.tensors.items()
        ]
        return (self.adds_axis, tuple(parts))


def _digest(array: Array) -> bytes:
    data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return hashlib.sha256(data).digest()


class ItemReader:
    """Makes items for one model.

    Raises:
        InvalidRequest: from `read`, what is wrong with an item.
    """

    def __init__(self, model: OnnxModel, *, lists: bool) -> None:
        """`lists`: the file has lists in places of arrays: one that lacks the batch axis alone gets it."""
        self._model, self._lists = model, lists
        self._ports = {port.name: port for port in specs(model.inputs)}
        self._split = frozenset(model.batch.inputs)
        self._tokenizer: Tokenizer | None = None

    @property
    def types(self) -> dict[str, str]:
        """The ONNX type of each input."""
        return {name: port.dtype for name, port in self._ports.items()}

    @property
    def like(self) -> dict[str, str]:
        """Of inputs that may be left out: the one whose shape each gets then."""
        return {name: port.like for name, port in self._ports.items() if port.like}

    def read(self, values: JsonView) -> Item:
        """Arrays or a text as an item."""
        if set(values) == {TEXT} and TEXT not in self._ports:
            tokens = from_python(self._model, self._tokens(values[TEXT]))
            return self._checked(tokens, adds_axis=True)
        whole = {name: self._with_axis(name, value) for name, value in values.items()}
        listed = from_python(self._model, whole, json=self._lists)
        added = any(whole[name] is not values[name] for name in values)
        return self._checked(listed, adds_axis=added or bool(listed.filled_in))

    def _tokens(self, text: str) -> dict[str, Array]:
        if not isinstance(text, str):
            raise InvalidRequest(f"{TEXT!r}: expected a string, got {text!r:.80}")
        if self._tokenizer is None:
            self._tokenizer = registry.tokenizer_of(self._model)
        tokens: dict[str, Array] = self._tokenizer.encode([text])
        return tokens

    def _with_axis(self, name: str, value: object) -> object:
        """An array that lacks only the batch axis gets it; `from_python` gives it to what was a list."""
        port = self._ports.get(name)
        if self._lists or not isinstance(value, np.ndarray) or port is None:
            return value
        return value[np.newaxis, ...] if value.ndim == len(port.shape) - 1 else value

    def _checked(self, given: Prepared, *, adds_axis: bool) -> Item:
        prepared = prepare(self._model, given.tensors)
        tensors = {tensor.name: decode_array(tensor) for tensor in prepared.tensors}
        split = self._split & tensors.keys()
        sizes = {len(tensors[name]) for name in split}
        if len(sizes) > 1 or 0 in sizes:
            shown = ", ".join(f"{name}: {len(tensors[name])}" for name in sorted(split))
            raise InvalidRequest(f"expected one row or more in each input, got {shown}")
        rows = sizes.pop() if sizes else 1
        filled_in = (*given.filled_in, *prepared.filled_in)
        nbytes = sum(
            tensor_bytes(tensor.dtype, Count(math.prod(tensor.shape), len(tensor.data)))
            for tensor in prepared.tensors
        )
        return Item(tensors, split, rows, adds_axis, nbytes, filled_in)


@dataclasses.dataclass
class Group:
    """Items of one key, by their positions in the file."""

    positions: list[int] = dataclasses.field(default_factory=list)
    items: list[Item] = dataclasses.field(default_factory=list)
    nbytes: int = 0

    def tensors(self) -> dict[str, Array]:
        """What the model is given: split inputs joined along the batch axis, the others once."""
        first = self.items[0]
        return {
            name: np.concatenate([item.tensors[name] for item in self.items])
            if name in first.split
            else array
            for name, array in first.tensors.items()
        }


class Grouper:
    """Collects items of equal shape until a batch is full.

    Same items in the same order, same batches. Items that cannot share a batch are batches of one.
    """

    def __init__(self, *, most_items: int, most_bytes: int) -> None:
        self._most_items, self._most_bytes = most_items, most_bytes
        self._open: dict[object, Group] = {}
        self._open_bytes = 0

    def add(self, position: int, item: Item) -> list[Group]:
        """Take an item; returns the batches that are now complete."""
        if not item.split:
            return [Group([position], [item], item.nbytes)]
        key, full = item.key, []
        if key in self._open and self._open[key].nbytes + item.nbytes > self._most_bytes:
            full.append(self._close(key))
        group = self._open.setdefault(key, Group())
        group.positions.append(position)
        group.items.append(item)
        group.nbytes += item.nbytes
        self._open_bytes += item.nbytes
        if len(group.items) >= self._most_items:
            full.append(self._close(key))
        if self._open_bytes > _MOST_OPEN_BYTES:
            full.append(self._close(next(iter(self._open))))
        return full

    def rest(self) -> list[Group]:
        """The batches that nothing will fill any more, in the order of their first items."""
        return [self._close(key) for key in list(self._open)]

    def _close(self, key: object) -> Group:
        group = self._open.pop(key)
        self._open_bytes -= group.nbytes
        return group
