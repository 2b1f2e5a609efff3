"""Models of any size, planned into the memory of browsers that need not run."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inference.catalog.memory_plan import Limit, NoRoom, parse_pool, plan_in_memory
from inference.errors import InvalidRequest
from inference.zoo import llama
from inference.zoo.families import shape_only
from inference.zoo.graph import weight_bytes
from inference.zoo.precision import PRECISIONS

SMALL = llama.LlamaConfig(12, 512, 8, 8, 1376, 4000, 64)


def pool(*memory_mb: float) -> list[Limit]:
    return [Limit(f"browser-{number}", mb) for number, mb in enumerate(memory_mb)]


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_unequal_limits_hold_and_nothing_is_left_out(precision: str) -> None:
    model = shape_only(SMALL, PRECISIONS[precision])
    placed = plan_in_memory(model, pool(1000, 900, 1400), weights=precision)
    assert all(one.planned_mb <= one.limit.memory_mb for one in placed)
    assert [one.step.index for one in placed] == list(range(len(placed)))
    held = sum(one.step.weight_bytes - one.step.copied_bytes for one in placed)
    assert held == pytest.approx(weight_bytes(model), rel=0.01)
    assert placed == plan_in_memory(
        shape_only(SMALL, PRECISIONS[precision]), pool(1000, 900, 1400), weights=precision
    )


def test_what_is_missing_is_said_in_gigabytes() -> None:
    with pytest.raises(NoRoom, match=r"2 browsers have 1\.6 GB of memory.*at least [\d.]+ GB"):
        plan_in_memory(shape_only(SMALL), pool(800, 800))


def test_pools_are_read_with_counts_and_limits() -> None:
    def read(text: str) -> list[Limit]:
        return parse_pool(text, family_of=str, limits_mb={"chrome": 1000.0})

    assert read("chrome:2@4, firefox@2.5,chrome") == [
        Limit("chrome-1", 4096.0), Limit("chrome-2", 4096.0), Limit("firefox-1", 2560.0, "firefox"),
        Limit("chrome-3", 1000.0),
    ]  # fmt: skip
    for wrong in ("", "chrome:", "chrome@4GB", "Chrome", "chrome:2:3"):
        with pytest.raises(InvalidRequest, match="pool: expected"):
            read(wrong)


def command(*args: str) -> Any:
    out = StringIO()
    call_command("plan", *args, "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.mark.parametrize(("name", "browsers"), [("llama-7b", 8), ("llama-70b", 32)])
def test_published_shapes_are_planned_within_every_limit(name: str, browsers: int) -> None:
    gb = 4 if name == "llama-7b" else 7
    pool_of = f"chrome:{browsers - 2}@{gb},firefox:2@{gb - 1}"
    placed = command("--outline", name, "--precision", "int4-float16", "--pool", pool_of)
    assert 1 < len(placed) <= browsers
    for one in placed:
        assert one["planned_mb"] <= one["memory_limit_mb"]
    assert [one["depends_on"] for one in placed[1:3]] != [[], []]


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(CommandError, match="--outline needs --pool"):
        command("--outline", "llama-7b")
    with pytest.raises(CommandError, match="expected MODEL or --outline"):
        command("--pool", "chrome")
    with pytest.raises(CommandError, match="expected a browser kind"):
        command("--outline", "llama-7b", "--pool", "netscape:2")
    with pytest.raises(CommandError, match="GB of memory are missing"):
        command("--outline", "llama-70b", "--pool", "chrome:4")
