"""Under load, a process outside kills and stops the pool's processes a hundred times: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.stack import ROOT, RunningStack

KILLS = 100


def test_a_hundred_random_kills_lose_double_and_falsify_nothing(tmp_path: Path) -> None:
    report = tmp_path / "fire.json"
    pool = RunningStack(tmp_path / "home", browsers="chromium,firefox")
    done = subprocess.run(
        [sys.executable, "manage.py", "fire", "--kills", str(KILLS), "--seed", "7", "--every", "0.9",
         "--callers", "3", "--json", str(report)],
        cwd=ROOT, env=pool.env, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    burnt = RunningStack(tmp_path / "home" / "fire")
    said = f"{done.stdout}\n{done.stderr}"
    print(said)
    assert done.returncode == 0, f"{said}\n{burnt.logs()}"
    assert not burnt.wait_gone()
    told = json.loads(report.read_text())
    assert told["strikes"] == KILLS
    assert told["answered"] == told["asked"] > KILLS / 4, "the pool was under load"
    assert told["http_answered"] > 0
    assert told["proof"]["holds"]
    assert told["orphans"] == []
    assert {"page", "browser", "driver", "worker", "valkey", "control", "web"} <= told[
        "struck"
    ].keys()
    phases = {phase for counted in told["phases"].values() for phase in counted}
    assert {"loading", "computing"} <= phases, told["phases"]
