"""An adaptive pool grows with real work and shrinks without it; nothing that runs is cut off."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults import ROWS, add, check, right_answer, slow_model
from tests.support.pools import stop
from tests.support.stack import RunningStack


def events(pool: RunningStack) -> list[tuple[str, str]]:
    with sqlite3.connect(f"file:{pool.home / 'db.sqlite3'}?mode=ro", uri=True) as ledger:
        return ledger.execute(
            "SELECT action, browser FROM browsers_poolevent ORDER BY id"
        ).fetchall()


def wait_for(
    pool: RunningStack, event: tuple[str, str], meanwhile: Callable[[], object] = lambda: None
) -> None:
    deadline = time.monotonic() + 240
    while event not in events(pool):
        assert time.monotonic() < deadline, f"{pool.logs()}\nno {event} among {events(pool)}"
        meanwhile()
        time.sleep(0.2)


_LONG = pytest.mark.soak("one kind of browser shows it")


@pytest.mark.parametrize(
    "kind",
    [
        "chromium-npm",
        pytest.param("firefox", marks=_LONG),
        pytest.param("webkitgtk", marks=_LONG),
    ],
)
def test_a_pool_grows_under_load_and_shrinks_when_idle(tmp_path: Path, kind: str) -> None:
    model = slow_model(tmp_path)
    pool = RunningStack(
        tmp_path / "home",
        browsers=kind,
        backends="wasm",
        extra_env={
            "WEBPOOL_POOL_ADAPTIVE": "1",
            "WEBPOOL_POOL_MAX": "2",
            "WEBPOOL_POOL_COOLDOWN_S": "3",
            "WEBPOOL_POOL_MEMORY": "0.99",
        },
    )
    pool.migrate()
    pool.start()
    try:
        add(pool, model, "slow")
        document = {"model": "slow", "inputs": {"x": ROWS.tolist()}}
        runs: list[str] = []

        def keep_busy() -> None:
            if len(runs) < 4 or pool.get(f"/api/runs/{runs[-4]}/")["state"] != "running":
                runs.append(pool.post("/api/runs/", document)["id"])

        second = f"{kind}-2"
        wait_for(pool, ("grew", second), keep_busy)
        answer = right_answer(model)
        for run_id in runs:
            check(pool, pool.wait_run(run_id), answer)
        wait_for(pool, ("shrank", second))
        assert events(pool) == [("grew", second), ("drained", second), ("shrank", second)]
        assert not (pool.home / "run" / f"browser.{second}.pid").exists()
        row = pool.browser(second)
        assert (row["state"], row["live"], row["drained_at"]) == ("stopped", None, None)
        check(pool, pool.wait_run(pool.post("/api/runs/", document)["id"]), answer)
        said = (pool.home / "up.log").read_text()
        assert "added: utilisation" in said
    finally:
        stop(pool)
