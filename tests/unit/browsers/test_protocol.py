"""Frames: the same bytes in Python and in the page (tests/js/protocol.test.js)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsers.core.errors import InternalError, InvalidInput
from browsers.core.protocol import (
    DTYPES,
    ITEM_BYTES,
    WireTensor,
    decode_frame,
    encode_frame,
    pack_strings,
    unpack_strings,
)

FIXTURES = Path(__file__).parents[2] / "js" / "fixtures" / "frames.json"
CASES: list[dict[str, Any]] = json.loads(FIXTURES.read_text())


def frame(header: dict[str, Any], tensors: list[WireTensor]) -> bytes:
    return b"".join(encode_frame(header, tensors))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_frames_are_the_fixtures_bytes(case: dict[str, Any]) -> None:
    tensors = [
        WireTensor(t["name"], t["dtype"], tuple(t["shape"]), base64.b64decode(t["data"]))
        for t in case["tensors"]
    ]
    made = frame(case["header"], tensors)
    assert made == base64.b64decode(case["frame"])
    header, back = decode_frame(made)
    assert header == case["header"]
    assert [(t.name, t.dtype, t.shape, bytes(t.data)) for t in back] == [
        (t.name, t.dtype, t.shape, t.data) for t in tensors
    ]


@st.composite
def tensors(draw: st.DrawFn) -> WireTensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = int(np.prod(shape))
    if dtype == "string":
        texts = draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))
        data = pack_strings(texts)
    else:
        size = count * ITEM_BYTES[dtype]
        data = draw(st.binary(min_size=size, max_size=size))
    return WireTensor(draw(st.text(max_size=8)), dtype, shape, data)


@given(st.dictionaries(st.sampled_from("abc"), st.integers() | st.text()), st.lists(tensors()))
def test_what_is_encoded_is_decoded(header: dict[str, Any], sent: list[WireTensor]) -> None:
    made = frame(header, sent)
    back, got = decode_frame(made)
    assert back == header
    assert [(t.name, t.dtype, t.shape, bytes(t.data)) for t in got] == [
        (t.name, t.dtype, t.shape, bytes(t.data)) for t in sent
    ]
    for tensor in sent:
        tensor.check()


def test_every_payload_is_aligned() -> None:
    sent = [WireTensor("abc"[:n], "uint8", (n,), bytes(n)) for n in range(1, 4)]
    made = frame({"x": "ü"}, sent)
    _, got = decode_frame(made)
    base = np.frombuffer(made, np.uint8).ctypes.data
    offsets = [np.frombuffer(t.data, np.uint8).ctypes.data - base for t in got]
    assert all(offset % 8 == 0 for offset in offsets)


@given(st.lists(st.text()))
def test_strings_survive(texts: list[str]) -> None:
    assert unpack_strings(pack_strings(texts)) == texts


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (WireTensor("x", "float32", (2,), b"1234"), "takes 8 bytes, got 4"),
        (WireTensor("x", "complex64", (1,), b"12345678"), "'complex64' cannot travel"),
        (WireTensor("x", "int8", (-1,), b""), "negative size"),
        (WireTensor("x", "string", (2,), pack_strings(["one"])), "takes 2 elements"),
        (WireTensor("x", "string", (1,), b"\5\0\0\0ab"), "element 0 of its strings runs past"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensor: WireTensor, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        tensor.check()


@pytest.mark.parametrize("broken", [b"", b"\1", b"\xff\0\0\0{}"])
def test_broken_frames_are_refused(broken: bytes) -> None:
    with pytest.raises(InternalError):
        decode_frame(broken)


def test_a_frame_that_ends_inside_a_tensor_is_refused() -> None:
    made = frame({}, [WireTensor("x", "float32", (4,), bytes(16))])
    with pytest.raises(InternalError, match="'x'"):
        decode_frame(made[:-8])
