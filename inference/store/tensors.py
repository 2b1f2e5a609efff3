"""The tensor store: bytes live in Redis, everything else carries references.

Redis keys
    webpool:tensor:<run id>:<n>    raw little-endian bytes of one tensor; strings in the Open Inference
                                   Protocol's BYTES form (per element a uint32 length, then UTF-8)

Each key expires after settings.WEBPOOL_TENSOR_TTL_S, longer than any run may last.

A key is never written twice.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
import redis.exceptions
from django.conf import settings

from browsers.core.protocol import WireTensor, pack_strings, unpack_strings
from browsers.redis import ask, ask_meanwhile, client
from inference.documents import Array, JsonObject, JsonView

T = TypeVar("T")
_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool"),
    )
}


SMALL = 8192
"""Up to how many bytes of outputs follow the news that a run has ended."""


class TensorLost(Exception):
    """The bytes behind a reference are gone: expired, or the store lost its data."""


@dataclasses.dataclass(frozen=True)
class TensorRef:
    """Where a tensor is, and what it is."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @classmethod
    def from_json(cls, item: JsonView) -> TensorRef:
        return cls(item["key"], item["dtype"], tuple(item["shape"]), item["nbytes"])

    def to_json(self) -> JsonObject:
        return {
            "key": self.key,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "nbytes": self.nbytes,
        }


def refs_of(items: JsonView) -> dict[str, TensorRef]:
    """References by name, as a row keeps them."""
    return {name: TensorRef.from_json(item) for name, item in items.items()}


def encode_array(name: str, array: Array) -> WireTensor:
    """Turn a numpy array into a wire tensor; arrays of `str` become strings.

    Raises:
        TypeError: the array's dtype, or an object in it, has no counterpart in ONNX.
    """
    if array.dtype.kind in "OU":
        items = array.ravel().tolist()
        if odd := next((item for item in items if not isinstance(item, str)), None):
            raise TypeError(
                f"tensor {name!r}: expected an array of str, got a {type(odd).__name__}"
            )
        return WireTensor(name, "string", array.shape, pack_strings(items))
    dtype = array.dtype.name
    if dtype not in _DTYPES:
        raise TypeError(
            f"tensor {name!r}: dtype {dtype} has no ONNX counterpart; use one of "
            f"{', '.join(_DTYPES)} or strings"
        )
    little = np.ascontiguousarray(array, dtype=_DTYPES[dtype]).reshape(array.shape)
    return WireTensor(name, dtype, array.shape, little.tobytes())


def decode_array(tensor: WireTensor) -> Array:
    """The numpy array of a wire tensor; strings become an object array of `str`."""
    if tensor.dtype == "string":
        flat = np.empty(int(np.prod(tensor.shape, dtype=np.int64)), dtype=object)
        flat[:] = unpack_strings(tensor.data)
        return flat.reshape(tensor.shape)
    return np.frombuffer(tensor.data, dtype=_DTYPES[tensor.dtype]).reshape(tensor.shape)


def store(
    run_id: uuid.UUID | str, tensors: Sequence[WireTensor], marks: Sequence[str] = ()
) -> list[TensorRef]:
    """Store tensors under fresh keys in one round trip; the references keep their order.

    `marks`: keys that are to be there as long.

    Raises:
        RedisError: it does not answer, or is full; then it has taken none of them.
    """
    return store_meanwhile(run_id, tensors, lambda refs: None, marks)[0]


def store_meanwhile(
    run_id: uuid.UUID | str,
    tensors: Sequence[WireTensor],
    work: Callable[[list[TensorRef]], T],
    marks: Sequence[str] = (),
) -> tuple[list[TensorRef], T]:
    """The same, and what `work` makes of the references, which is done while the server is at it."""
    refs = [
        TensorRef(f"webpool:tensor:{run_id}:{uuid.uuid4().hex[:12]}", t.dtype, t.shape, len(t.data))
        for t in tensors
    ]
    kept = [
        *((ref.key, t.data) for ref, t in zip(refs, tensors, strict=True)),
        *((m, 1) for m in marks),
    ]
    ttl_s = settings.WEBPOOL_TENSOR_TTL_S
    try:
        _, done = ask_meanwhile(
            [("SET", key, value, "EX", ttl_s) for key, value in kept], lambda: work(refs)
        )
    except redis.exceptions.ResponseError:
        # A full store may have taken some of them, which nobody will name.
        client().unlink(*(key for key, _ in kept))
        raise
    return refs, done


def fetch(named: Sequence[tuple[str, TensorRef]]) -> list[WireTensor]:
    """Read tensors in one round trip.

    Raises:
        TensorLost: the store no longer holds one of them.
    """
    if not named:
        return []
    (raw,) = ask(("MGET", *(ref.key for _, ref in named)))
    return _checked(named, raw)


def told(named: Sequence[tuple[str, TensorRef]], values: Mapping[str, bytes]) -> list[WireTensor]:
    """The tensors of bytes that were announced, by their keys."""
    return [WireTensor(name, ref.dtype, ref.shape, values[ref.key]) for name, ref in named]


def take(named: Sequence[tuple[str, TensorRef]], drop: Iterable[TensorRef]) -> list[WireTensor]:
    """Read tensors and delete all of `drop`, in one round trip.

    Raises:
        TensorLost: the store no longer holds one of them.
    """
    pipe = client().pipeline(transaction=False)
    pipe.mget([ref.key for _, ref in named])
    pipe.unlink(*(ref.key for ref in drop))
    return _checked(named, pipe.execute()[0])


def _checked(
    named: Sequence[tuple[str, TensorRef]], raw: Sequence[bytes | None]
) -> list[WireTensor]:
    tensors = []
    for (name, ref), data in zip(named, raw, strict=True):
        if data is None or len(data) != ref.nbytes:
            raise TensorLost(
                f"tensor {name!r}: expected {ref.nbytes} bytes under {ref.key}, the store has "
                f"{'nothing' if data is None else f'{len(data)} bytes'}"
            )
        tensors.append(WireTensor(name, ref.dtype, ref.shape, data))
    return tensors


def drop(refs: Iterable[TensorRef]) -> None:
    """Delete tensors that nobody will ask for again."""
    keys = [ref.key for ref in refs]
    if keys:
        client().unlink(*keys)


def peek(refs: Sequence[TensorRef], count: int) -> list[list[object] | None]:
    """The first `count` values of each tensor without reading it whole; None: the store has given it up.

    Of strings as many as lie in the first 64 KiB.
    """
    pipe = client().pipeline(transaction=False)
    for ref in refs:
        pipe.strlen(ref.key)
        pipe.getrange(ref.key, 0, _peeked_bytes(ref, count) - 1)
    answers = pipe.execute() if refs else []
    return [
        _first_values(ref, start, count) if length == ref.nbytes else None
        for ref, length, start in zip(refs, answers[::2], answers[1::2], strict=True)
    ]


def _peeked_bytes(ref: TensorRef, count: int) -> int:
    return 2**16 if ref.dtype == "string" else count * _DTYPES[ref.dtype].itemsize


def _first_values(ref: TensorRef, start: bytes, count: int) -> list[object]:
    if ref.dtype != "string":
        return cast("list[object]", np.frombuffer(start, dtype=_DTYPES[ref.dtype]).tolist())
    values: list[object] = []
    at = 0
    while len(values) < count and at + 4 <= len(start):
        end = at + 4 + int.from_bytes(start[at : at + 4], "little")
        if end > len(start):
            break
        values.append(start[at + 4 : end].decode())
        at = end
    return values
