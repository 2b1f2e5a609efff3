"""What cannot have been measured is refused, each thing by its name."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from history.core.parsing import parse
from history.core.samples import refusals
from tests.support.history import sample

NOW = datetime.now(UTC).replace(tzinfo=None)


def wrong(**changes: Any) -> list[str]:
    item = dataclasses.replace(sample(source="elsewhere"), **changes)
    return list(refusals(item, now=NOW, browsers=("chromium", "firefox")))


def test_what_can_be_is_taken() -> None:
    assert wrong() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_id", -5), ("latency_ms", -0.1), ("latency_ms", float("nan")),
        ("latency_ms", float("inf")), ("latency_ms", None), ("batch_size", -1),
        ("browser", "netscape"), ("model_type", "smell"), ("model_name", "m'; DROP TABLE x; --"),
        ("source_id", 10**25), ("batch_size", 2**31), ("latency_ms", 1e300), ("adapter", "\ud800"),
        ("work", "a" * 1001), ("extra", {"a": float("nan")}), ("extra", {"\ud800": 1}),
        ("extra", {"a": float("inf")}), ("platform", "cuda"), ("source", "a; b"),
        ("timestamp", NOW + timedelta(hours=1)),
    ],
)  # fmt: skip
def test_garbage_is_refused_by_name(name: str, value: Any) -> None:
    (said,) = wrong(**{name: value})
    assert said.startswith(name)


@pytest.mark.parametrize(
    ("column", "value"),
    [("source_id", "4.5"), ("success", "maybe"), ("timestamp", "yesterday"), ("extra", "[1]")],
)
def test_a_column_that_cannot_be_read_is_named(column: str, value: str) -> None:
    row = {
        "timestamp": "2026-01-01T00:00:00", "browser": "chromium", "model_type": "text",
        "model_name": "m", "success": "true", column: value,
    }  # fmt: skip
    with pytest.raises(ValueError, match=column):
        parse(row, source="file", number=1)


@pytest.mark.parametrize("value", [2**53 + 1, str(2**53 + 1)])
def test_a_long_number_keeps_its_last_digit(value: int | str) -> None:
    row = {
        "timestamp": "2026-01-01T00:00:00", "browser": "chromium", "model_type": "text",
        "model_name": "m", "success": "true", "source": "x", "source_id": value,
    }  # fmt: skip
    assert parse(row, source="file", number=1).source_id == 2**53 + 1
