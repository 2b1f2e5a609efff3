"""The history file: every observation once."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from history.store import HistoryStore, Observation

FIRST = Observation(
    source_id=1,
    timestamp=datetime.fromisoformat("2026-01-02T03:04:05"),
    browser="chromium",
    model_type="text",
    model_name="m",
    platform="wasm",
    latency_ms=1.5,
    memory_mb=None,
    batch_size=2,
    success=True,
    error_type=None,
    extra={"browser_version": "156"},
)


def numbered(*ids: int) -> list[Observation]:
    return [dataclasses.replace(FIRST, source_id=i) for i in ids]


def test_an_observation_is_kept_as_it_came(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "h.duckdb") as store:
        store.record([FIRST])
    with duckdb.connect(str(tmp_path / "h.duckdb")) as db:
        columns = [
            column[0] for column in db.execute("SELECT * FROM browser_performance").description
        ]
        row = dict(zip(columns, db.fetchone() or (), strict=True))
    assert json.loads(row.pop("extra")) == {"browser_version": "156"}
    expected = dataclasses.asdict(FIRST)
    del expected["extra"]
    assert row == expected


def test_what_was_taken_over_is_not_taken_again(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "h.duckdb") as store:
        assert store.record(numbered(1, 2, 3)) == 3
        assert store.record(numbered(2, 3, 4)) == 4
        assert store.count() == 4


def test_a_batch_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = dataclasses.replace(FIRST, source_id=3, browser=None)  # type: ignore[arg-type]
    with HistoryStore(tmp_path / "h.duckdb") as store:
        store.record(numbered(1))
        with pytest.raises(duckdb.ConstraintException):
            store.record([*numbered(2), broken])
        assert (store.count(), store.high_water_mark()) == (1, 1)
        assert store.record(numbered(2, 3)) == 3
