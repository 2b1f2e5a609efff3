"""The light client without a pool: what it refuses to send, and how it reads what others say."""

from __future__ import annotations

import httpx2
import numpy as np
import pytest

from inference.remote import Busy, calls, tensors


@pytest.mark.parametrize("value", [b"abc", None, 7])
def test_what_is_no_text_is_not_sent_as_one(value: object) -> None:
    """`str(b"abc")` is not its text."""
    with pytest.raises(TypeError, match="words: expected strings, got"):
        tensors.written({"words": np.array(["a", value], object)})
    _, sent = tensors.written({"words": np.array(["a", "bc"])})
    assert sent == b"\x01\0\0\0a\x02\0\0\0bc"


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("", 1.0)]
)
def test_who_is_busy_says_when_to_come_again_also_through_a_proxy(
    said: str, seconds: float
) -> None:
    response = httpx2.Response(429, headers={"Retry-After": said}, text="slow down")
    with pytest.raises(Busy) as caught:
        calls.ready().result(response)
    assert caught.value.retry_after_s == seconds
