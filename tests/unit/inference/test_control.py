"""What the control worker is told travels whole, and what is none of it is refused."""

from __future__ import annotations

import pytest

from browsers.core.failures import Category
from inference.core.generation import control
from inference.core.generation.control import Ahead, CaughtUp, Done, Gone, Lost

TOLD = [
    Lost("s", 1, 2, Category.BROWSER_CRASH, "it died"),
    CaughtUp("s", 1, 2, 0.5),
    Ahead("s", 1, 2, 7, 0.25),
    Gone("firefox"),
    Done("s"),
]


@pytest.mark.parametrize("message", TOLD)
def test_what_is_written_is_read(message: control.Message) -> None:
    assert control.read(control.written(message).encode()) == message


def test_a_long_reason_is_cut() -> None:
    read = control.read(control.written(Lost("s", 0, 1, Category.INTERNAL, "x" * 5000)))
    assert read == Lost("s", 0, 1, Category.INTERNAL, "x" * 2000)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "7",
        '{"what": "danced"}',
        '{"what": "done"}',
        '{"what": "gone", "session": "s"}',
        "{",
    ],
)
def test_what_nobody_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        control.read(text)
