"""The history file: every observation once, readers never in the way."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from history import series
from history.core.samples import Blame, Kind, Observation
from history.errors import HistoryBusy, HistoryError
from history.store import HistoryStore, latest
from tests.support.history import kept as kept_in
from tests.support.history import sample

FULL = Observation(
    source="ledger:attempt",
    source_id=1,
    kind=Kind.EXECUTION,
    timestamp=datetime.fromisoformat("2026-01-02T03:04:05.000007"),
    browser="chromium",
    model_type="text",
    model_name="m",
    platform="wasm",
    latency_ms=1.5,
    throughput_tokens_per_sec=2.5,
    memory_mb=3.5,
    batch_size=2,
    success=True,
    error_type="timeout",
    browser_id="chromium-2",
    family="chrome",
    host="here",
    browser_version="156",
    driver_version="156.1",
    adapter="swiftshader",
    software=True,
    work="ab" * 32,
    shape="x[1,128]",
    warm=False,
    concurrent=3,
    bytes_in=2**40,
    bytes_out=5,
    queue_ms=4.5,
    load_ms=5.5,
    transfer_ms=6.5,
    extra={"nodes": {"CPUExecutionProvider": 3}, "text": "'; DROP TABLE browser_performance; --"},
)
BARE = Observation(
    source="ledger:attempt", source_id=2, timestamp=FULL.timestamp, browser="firefox",
    model_type="text", model_name="m", success=False, blame=Blame.BROWSER,
)  # fmt: skip


def numbered(*ids: int) -> list[Observation]:
    return [dataclasses.replace(FULL, source_id=i) for i in ids]


def kept(path: Path) -> list[dict[str, object]]:
    with duckdb.connect(str(path)) as db:
        result = db.execute("SELECT * FROM browser_performance ORDER BY source_id")
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def test_an_observation_is_kept_as_it_came(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "h.duckdb") as store:
        assert store.record([FULL, BARE]) == 2
    for row, item in zip(kept(tmp_path / "h.duckdb"), [FULL, BARE], strict=True):
        assert json.loads(str(row.pop("extra"))) == item.extra
        expected = dataclasses.asdict(item)
        del expected["extra"]
        assert row == expected


def test_a_text_that_comes_late_is_kept(tmp_path: Path) -> None:
    rows = [dataclasses.replace(BARE, source_id=i) for i in range(3000)]
    with HistoryStore(tmp_path / "h.duckdb") as store:
        store.record([*rows, dataclasses.replace(FULL, source_id=3000)])
    assert kept(tmp_path / "h.duckdb")[3000]["error_type"] == "timeout"


def test_what_was_taken_over_is_not_taken_again(tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "h.duckdb") as store:
        assert store.record(numbered(1, 2, 3), marks={"ledger:attempt": 3}) == 3
        assert store.record(numbered(2, 3, 4)) == 1
        assert store.record([dataclasses.replace(FULL, source="other")]) == 1
        assert store.record((), marks={"ledger:attempt": 1}) == 0
        assert (store.count(), store.high_water_mark("ledger:attempt")) == (5, 3)


def test_a_batch_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = dataclasses.replace(FULL, source_id=3, browser="")
    with HistoryStore(tmp_path / "h.duckdb") as store:
        store.record(numbered(1), marks={"a": 1})
        with pytest.raises(duckdb.ConstraintException):
            store.record([*numbered(2), broken], marks={"a": 3})
        assert (store.count(), store.high_water_mark("a")) == (1, 1)
        assert store.record(numbered(2, 3)) == 2


def test_one_writes_at_a_time_and_the_next_waits(tmp_path: Path) -> None:
    path = tmp_path / "h.duckdb"
    with HistoryStore(path), pytest.raises(HistoryBusy, match="try again"):
        HistoryStore(path, patience_s=0.1)
    with HistoryStore(path, patience_s=0.1) as store:
        store.record([FULL])


def test_what_a_killed_import_left_goes_with_the_next(tmp_path: Path) -> None:
    killed = tmp_path / "import-killed"
    killed.mkdir()
    for ending in ("duckdb", "lock"):
        (killed / f"staging.{ending}").touch()
    path = tmp_path / "history.duckdb"
    with HistoryStore.temporary(path) as other, HistoryStore.temporary(path) as staging:
        staging.record([sample(source="import:a", source_id=1)])
        with HistoryStore(path) as store:
            assert store.add_all_of(staging) == 1
        assert not killed.exists()
        assert other.path.exists(), "that one is at work"
    assert not list(tmp_path.glob("import-*"))


def test_readers_see_a_finished_copy_and_its_age(tmp_path: Path) -> None:
    path = tmp_path / "h.duckdb"
    assert latest(path).as_of is None
    assert len(kept_in(latest(path))) == 0
    with HistoryStore(path) as store:
        store.record([FULL])
    first = latest(path)
    with HistoryStore(path) as store:
        assert len(kept_in(latest(path))) == 1  # while another writes
        store.record([BARE])
        assert len(kept_in(latest(path))) == 1
    assert len(kept_in(latest(path))) == 2
    assert len(kept_in(first)) == 1  # a reader keeps what it opened
    assert len(list(tmp_path.glob("h.snapshot-*"))) == 1


def test_a_copy_of_an_unchanged_file_is_as_fresh_as_the_last_look(tmp_path: Path) -> None:
    path = tmp_path / "h.duckdb"
    with HistoryStore(path) as store:
        store.record([FULL])
    copy = (tmp_path / "h.snapshot").resolve()
    os.utime(copy, (0, 0))
    before = time.time()
    with HistoryStore(path):
        pass
    as_of = latest(path).as_of
    assert (tmp_path / "h.snapshot").resolve() == copy
    assert as_of is not None and as_of >= datetime.fromtimestamp(before - 0.01, UTC)


def test_load_is_bucketed_by_powers_of_two(tmp_path: Path) -> None:
    buckets = {None: -1, 0: 0, 1: 1, 2: 2, 3: 2, 4: 4, 7: 4, 8: 8}
    with HistoryStore(tmp_path / "h.duckdb") as store:
        store.record(
            [
                sample(source="t", source_id=number, concurrent=concurrent, latency_ms=number + 1.0)
                for number, concurrent in enumerate(buckets)
            ]
        )
        found = series.load(store, datetime.fromisoformat("2020-01-01"))
    loads = {latency: one.work.load for one in found for latency in one.latencies_ms}
    assert [loads[number + 1.0] for number in range(len(buckets))] == list(buckets.values())


def test_a_failure_is_kept_with_what_it_counts_against(tmp_path: Path) -> None:
    """By its category, as repairs and breakers see it, unless whoever recorded it knew better."""
    kinds = {
        "browser_crash": "browser", "timeout": "browser", "out_of_memory": "model",
        "model_incompatible": "nobody", "invalid_input": "nobody", "gone_fishing": "browser",
    }  # fmt: skip
    failures = [
        dataclasses.replace(BARE, source_id=number, error_type=error_type, blame=None)
        for number, error_type in enumerate(kinds)
    ]
    known = dataclasses.replace(failures[0], source_id=100, blame=Blame.NOBODY)
    with HistoryStore(tmp_path / "h.duckdb") as store:
        store.record([*failures, known])
    rows = kept(tmp_path / "h.duckdb")
    assert [row["blame"] for row in rows] == [*kinds.values(), "nobody"]


def test_a_file_of_an_older_webpool_is_kept_and_its_failures_are_given_their_blame(
    tmp_path: Path,
) -> None:
    path = tmp_path / "h.duckdb"
    failures = [
        dataclasses.replace(BARE, source_id=1, error_type="model_incompatible", blame=None),
        dataclasses.replace(BARE, source_id=2, error_type=None, blame=None),
    ]
    with HistoryStore(path) as store:
        store.record([*failures, dataclasses.replace(FULL, source_id=3)])
    _as_it_was_before(path)
    with pytest.raises(HistoryBusy, match="history --recompute"):
        latest(path)
    with HistoryStore(path) as store:
        assert store.record([dataclasses.replace(FULL, source_id=4)]) == 1
    assert [row["blame"] for row in kept(path)] == ["nobody", "browser", None, None]
    assert len(kept_in(latest(path))) == 4


def _as_it_was_before(path: Path) -> None:
    """Without the column, as the older file and its copy for readers were."""
    copy = path.with_suffix(".snapshot").resolve()
    with duckdb.connect(str(path)) as db:
        db.execute("DROP VIEW executions")
        db.execute("ALTER TABLE browser_performance DROP COLUMN blame")
    copy.write_bytes(path.read_bytes())


_READING = """
import duckdb, sys
db = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_somebody_reads_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "h.duckdb"
    with HistoryStore(path):
        pass
    reader = subprocess.Popen(
        [sys.executable, "-c", _READING, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with reader:
        assert reader.stdout is not None and reader.stdout.readline()
        with pytest.raises(HistoryBusy, match="try again"):
            HistoryStore(path, patience_s=0.1)
        reader.communicate()
    with HistoryStore(path, patience_s=0.1):
        pass


def test_a_file_that_is_no_history_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "h.duckdb").write_text("no database")
    with pytest.raises(HistoryError, match="cannot be opened"):
        HistoryStore(tmp_path / "h.duckdb", patience_s=0.1)
