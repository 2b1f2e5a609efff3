"""Under load, a process outside kills and stops the pool's processes at random: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.stack import ROOT, RunningStack

KILLS, SECONDS = 100, 180
# A machine that is slow to bring a browser up again gives fewer to kill in that time.
FEWEST = 10


def test_random_kills_lose_double_and_falsify_nothing(tmp_path: Path) -> None:
    report = tmp_path / "fire.json"
    pool = RunningStack(tmp_path / "home", browsers="chromium,firefox")
    done = subprocess.run(
        [sys.executable, "manage.py", "fire", "--kills", str(KILLS), "--seed", "7", "--every", "0.7",
         "--seconds", str(SECONDS), "--callers", "3", "--json", str(report)],
        cwd=ROOT, env=pool.env, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    burnt = RunningStack(tmp_path / "home" / "fire")
    said = f"{done.stdout}\n{done.stderr}"
    print(said)
    assert done.returncode == 0, f"{said}\n{burnt.logs()}"
    assert not burnt.wait_gone()
    told = json.loads(report.read_text())
    assert FEWEST <= len(told["strikes"]) <= KILLS
    assert told["answered"] + len(told["lost_in_store"]) == told["asked"]
    assert told["answered"] > FEWEST, "the pool was under load"
    assert told["http_answered"] > 0
    assert told["proof"]["holds"]
    assert told["orphans"] == []
    assert told["history"] == {"attempts": told["history"]["attempts"], "missing": 0, "doubled": 0}
    assert told["history"]["attempts"] >= told["answered"]
    phases = {phase for counted in told["phases"].values() for phase in counted}
    assert phases - {"idle", "late"}, told["phases"]
