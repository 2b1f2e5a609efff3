"""Who is asked to hold one more copy: only who has nothing to lose by it."""

from __future__ import annotations

import dataclasses

import pytest

from inference.core.standbys import Held, Holder, missing

MB = 1_000_000
USED = Held(100 * MB, "wasm", used=True)
FREE = Holder("b", trusted=True, roomy=True, loads_ahead=True, idle=True, limit_mb=4096.0, files={})
BUSY = dataclasses.replace(FREE, id="a", idle=False, files={"f": USED})


def among(*others: Holder, standbys: int = 1) -> dict[str, list[str]]:
    return missing({one.id: one for one in (BUSY, *others)}, standbys)


def test_what_one_browser_computes_is_loaded_in_one_more() -> None:
    another = dataclasses.replace(FREE, id="c")
    assert among(FREE, another) == {"f": ["b", "c"]}
    held = dataclasses.replace(FREE, files={"f": dataclasses.replace(USED, used=False)})
    assert among(held, another) == {}
    assert among(held, another, standbys=2) == {"f": ["c"]}
    assert among(FREE, standbys=0) == {}


def test_what_was_loaded_only_is_not_in_use() -> None:
    idle = dataclasses.replace(BUSY, files={"f": dataclasses.replace(USED, used=False)})
    assert missing({"a": idle, "b": FREE}, 1) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"trusted": False},
        {"roomy": False},
        {"loads_ahead": False},
        {"idle": False},
        {"limit_mb": 1000.0},
        {"files": {"g": dataclasses.replace(USED, bytes=900 * MB)}},
    ],
)
def test_who_is_in_doubt_at_work_or_full_takes_none(change: dict[str, object]) -> None:
    assert among(dataclasses.replace(FREE, **change)) == {}  # type: ignore[arg-type]


def test_a_copy_in_a_browser_that_is_in_doubt_is_none() -> None:
    broken = dataclasses.replace(FREE, trusted=False, files={"f": USED})
    assert among(broken, dataclasses.replace(FREE, id="c")) == {"f": ["c"]}
