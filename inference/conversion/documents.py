"""JSON that a caller sent: bounded before it is built, then read strictly.

Python builds an object per value and lets no other thread run meanwhile, so a small body of many empty lists
would stop every request for seconds. Bytes, values and depth are counted first, by numpy. Large tensors have
a binary form, which costs nothing like it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, NoReturn

import numpy as np
from django.conf import settings

from inference.conversion.numbers import NOT_IN_JSON
from inference.errors import InvalidRequest, TooLarge

MOST_DEPTH = 48  # a tensor's 32 axes, and what a request puts around them
LARGE_BYTES, LARGE_VALUES = 2**18, 2**14
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_REMEDY = "send large tensors in binary form (binary_data_size of /v2/), many items as a batch job"


@dataclasses.dataclass(frozen=True)
class Size:
    """How much a document would build: its values, at most, and how deep they lie, at most."""

    values: int
    depth: int


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a document may have, at most."""

    megabytes: int
    values: int

    @classmethod
    def of_settings(cls) -> Bounds:
        return cls(settings.WEBPOOL_MAX_JSON_MB, settings.WEBPOOL_MAX_JSON_VALUES)

    @property
    def bytes(self) -> int:
        return self.megabytes * 2**20

    def check_length(self, length: int) -> None:
        """Raises TooLarge."""
        if length > self.bytes:
            raise TooLarge(
                f"the JSON has {length} bytes, the limit is {self.bytes} "
                f"({self.megabytes} MB, WEBPOOL_MAX_JSON_MB); {_REMEDY}"
            )


def most_bytes() -> int:
    """The length of a document, at most."""
    return Bounds.of_settings().bytes


def is_large(raw: bytes | bytearray, length: int | None = None) -> bool:
    """Whether a document is too large to be built where others wait: `wire.apart` has it built elsewhere.

    Args:
        length: how much of `raw` it is; None: all.
    """
    length = len(raw) if length is None else length
    return length > LARGE_BYTES or raw.count(b",", 0, length) > LARGE_VALUES


def parse(raw: bytes | bytearray | memoryview, bounds: Bounds | None = None) -> Any:
    """The document as Python values: UTF-8, no NaN, no infinity, no text without a form in UTF-8.

    Args:
        bounds: None: those of the settings.

    Raises:
        TooLarge: more bytes, or more values, than the bounds allow; nothing was built.
        InvalidRequest: it is not JSON, or nested too deeply.
    """
    bounds = bounds or Bounds.of_settings()
    bounds.check_length(len(raw))
    data = bytes(raw)
    size = size_of(data, bounds.values)
    if size.values > bounds.values:
        raise TooLarge(
            f"the JSON has {size.values} values, the limit is {bounds.values} "
            f"(WEBPOOL_MAX_JSON_VALUES); {_REMEDY}"
        )
    if size.depth > MOST_DEPTH:
        raise InvalidRequest(
            f"the JSON is nested too deeply: {size.depth} levels, expected at most {MOST_DEPTH}"
        )
    document = _built(data)
    if _SURROGATE.search(data):
        _check_text(document)
    return document


def size_of(data: bytes, most_values: int) -> Size:
    """An upper bound, exact where the rough one is not near the limits."""
    opened = data.count(b"[") + data.count(b"{")
    values = opened + data.count(b",") + 1
    if opened <= MOST_DEPTH and values <= most_values:
        return Size(values, opened)
    return _counted(data)


def _counted(data: bytes) -> Size:
    """As the brackets and commas outside strings say."""
    plain = np.frombuffer(data.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)
    outside = (np.cumsum(plain == ord('"'), dtype=np.int32) & 1) == 0
    opens = ((plain == ord("[")) | (plain == ord("{"))) & outside
    closes = ((plain == ord("]")) | (plain == ord("}"))) & outside
    commas = np.count_nonzero((plain == ord(",")) & outside)
    depth = np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32)
    return Size(int(np.count_nonzero(opens) + commas + 1), int(depth.max(initial=0)))


def check_rest(document: object) -> None:
    """Refuse a document that is large without its tensors.

    Raises:
        TooLarge: it has more than `LARGE_VALUES` values.
    """
    left, count = [document], 0
    while left:
        item = left.pop()
        count += 1
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
        if count + len(left) > LARGE_VALUES:
            raise TooLarge(
                f"the JSON has more than {LARGE_VALUES} values beside its tensors; {_REMEDY}"
            )


def _built(data: bytes) -> Any:
    try:
        text = str(data, "utf-8-sig")  # editors and spreadsheets may mark it
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:  # not UTF-8 is one, too, and a number of thousands of digits
        raise InvalidRequest(
            f"expected JSON in UTF-8, got {len(data)} bytes that are not: {error}"
        ) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}: {NOT_IN_JSON}")


def _check_text(document: object) -> None:
    """Refuse half of a surrogate pair, wherever it is: no file, row or answer could hold it."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the JSON holds text that has no form in UTF-8: {error.object[error.start]!a} ({error.reason})"
        ) from None
