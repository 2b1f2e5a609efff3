"""Compressed bodies: what was packed comes out, and nothing grows past the limit."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequest, TooLarge
from inference.views import http

MOST = 2**25
PACK: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}


@given(st.binary(max_size=5000), st.sampled_from(sorted(PACK)))
def test_what_was_packed_comes_out(content: bytes, encoding: str) -> None:
    assert bytes(http.inflate(PACK[encoding](content), encoding, most=MOST)) == content


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_more_than_a_chunk(encoding: str) -> None:
    content = bytes(range(256)) * (3 * 2**12)
    assert bytes(http.inflate(PACK[encoding](content), encoding, most=MOST)) == content


def test_gzip_members_follow_one_another() -> None:
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    assert bytes(http.inflate(packed, "gzip", most=MOST)) == b"onetwo"


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_a_body_that_is_cut_short(encoding: str) -> None:
    packed = PACK[encoding](b"content" * 100)
    for end in (0, 5, len(packed) - 1):
        with pytest.raises(InvalidRequest, match="ends before its content does"):
            http.inflate(packed[:end], encoding, most=MOST)


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_a_body_that_is_something_else(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match=f"is not {encoding}"):
        http.inflate(b"{}", encoding, most=MOST)
    with pytest.raises(InvalidRequest, match=f"is not {encoding}"):
        http.inflate(PACK[encoding](b"x") + b"garbage", encoding, most=MOST)


def test_an_unknown_encoding() -> None:
    with pytest.raises(http.UnsupportedEncoding, match="expected gzip or deflate, got 'br'"):
        http.inflate(b"", "br", most=MOST)


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_a_bomb_is_refused_at_the_limit(encoding: str) -> None:
    packed = PACK[encoding](bytes(50 * 2**20))
    assert len(packed) < 2**20
    with pytest.raises(TooLarge, match="more than 1048576 bytes once unpacked"):
        http.inflate(packed, encoding, most=2**20)


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5, br", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("identity", ""),
    ],
)
def test_the_answer_is_packed_as_the_caller_accepts(header: str, chosen: str) -> None:
    assert http.accepted_encoding(header) == chosen
    body, headers = http.deflate(b"a" * 5000, header)
    assert headers.get("Content-Encoding", "") == chosen
    if chosen:
        assert bytes(http.inflate(body, chosen, most=MOST)) == b"a" * 5000
