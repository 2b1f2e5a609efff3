"""Under load, a process outside kills and stops the pool's processes at random: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import ROOT, RunningStack

LONG = pytest.mark.soak(
    "minutes under fire; the short one hurts the same processes in the same ways"
)
# Strikes, seconds, and the fewest strikes: a machine that is slow to bring a browser up again gives fewer to
# hit in that time.
FIRES = [(12, 60, 3), pytest.param(200, 600, 30, marks=LONG)]


@pytest.mark.parametrize(("kills", "seconds", "fewest"), FIRES)
def test_random_kills_lose_double_and_falsify_nothing(
    tmp_path: Path, kills: int, seconds: int, fewest: int
) -> None:
    report = tmp_path / "fire.json"
    pool = RunningStack(tmp_path / "home", browsers="chromium,firefox", backends="wasm")
    done = subprocess.run(
        [sys.executable, "manage.py", "fire", "--kills", str(kills), "--seed", "7", "--every", "0.7",
         "--seconds", str(seconds), "--callers", "3", "--json", str(report)],
        cwd=ROOT, env=pool.env, capture_output=True, text=True, timeout=2400, check=False,
    )  # fmt: skip
    hurt = RunningStack(tmp_path / "home" / "fire")
    said = f"{done.stdout}\n{done.stderr}"
    print(said)
    assert done.returncode == 0, f"{said}\n{hurt.logs()}"
    assert not hurt.wait_gone()
    told = json.loads(report.read_text())
    assert fewest <= len(told["strikes"]) <= kills
    assert told["answered"] + len(told["lost_in_store"]) == told["asked"]
    assert told["answered"] > fewest, "the pool was under load"
    assert told["http_answered"] > 0
    assert told["proof"]["holds"]
    assert told["texts"]["written"] == told["texts"]["asked"] > 0
    assert told["orphans"] == []
    assert told["history"] == {"attempts": told["history"]["attempts"], "missing": 0, "doubled": 0}
    assert told["history"]["attempts"] >= told["answered"]
    phases = {phase for counted in told["phases"].values() for phase in counted}
    assert phases - {"idle", "late"}, told["phases"]
