"""What `make bench` prints and which parts it runs."""

from __future__ import annotations

import pytest

from webpool_site.bench.parts import PARTS, UnknownPart, chosen
from webpool_site.bench.stats import Table, row


def test_every_part_is_a_module_with_a_measure() -> None:
    assert all(callable(part.measure()) for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_parts_are_chosen_by_name_and_an_unknown_one_is_refused() -> None:
    assert chosen("") == PARTS
    assert [part.name for part in chosen("throughput, overheads")] == ["overheads", "throughput"]
    with pytest.raises(UnknownPart, match="no part 'speed'; there are overheads"):
        chosen("speed")


def test_a_table_is_aligned_and_shows_what_is_unknown() -> None:
    table = Table("t", ("name", "ms"), (("a", 1.23456), ("longer", None), ("b", 1234.5)))
    assert table.text().splitlines() == [
        "t",
        "name      ms",
        "a       1.23",
        "longer     -",
        "b       1234",
    ]
    assert table.to_json()["lines"][1] == {"name": "longer", "ms": None}
    assert Table("none", ("name",), ()).text() == "none\nname"


def test_a_row_says_whether_its_goal_was_reached() -> None:
    assert row("x", [1.0, 2.0, 3.0], goal_ms=2.0).reached is True
    assert row("x", [1.0, 2.0, 3.0]).reached is None
