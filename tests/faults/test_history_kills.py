"""kill -9 of who tells history and of who writes it, at any moment: what was acknowledged is there once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb

from tests.support.stack import ROOT, RunningStack

SCRIPTS = ROOT / "tests" / "support" / "scripts"
ROUNDS = 3


def _start(home: RunningStack, script: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / script), *args], cwd=ROOT, text=True,
        env={**home.env, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip


def _kill(process: subprocess.Popen[str]) -> list[str]:
    """End it, whatever it does; the whole lines that it printed."""
    process.kill()
    said, _ = process.communicate()
    return [line for line in said.splitlines(keepends=True) if line.endswith("\n")]


def test_what_was_acknowledged_is_there_once_whoever_is_killed(tmp_path: Path) -> None:
    home, draw = RunningStack(tmp_path / "home"), random.Random(5)
    home.migrate()
    acknowledged: list[int] = []
    taken = 0
    for _ in range(ROUNDS):
        # The number after the last may have been told without its acknowledgement.
        following = acknowledged[-1] + 2 if acknowledged else 0
        teller = _start(home, "tell.py", str(following))
        writer = _start(home, "take_over.py")
        assert teller.stdout is not None
        assert writer.stdout is not None
        first = [teller.stdout.readline()]
        assert writer.stdout.readline()
        for process in draw.sample([teller, writer], 2):
            time.sleep(draw.uniform(0.0, 0.4))
            said = _kill(process)
            if process is teller:
                acknowledged += [int(line) for line in first + said]
            else:
                taken += len(said)
    writer = _start(home, "take_over.py")
    assert writer.stdout is not None
    writer.stdout.readline()  # everything that was acknowledged was committed before it began
    _kill(writer)
    with duckdb.connect(str(home.home / "history" / "history.duckdb")) as history:
        kept = Counter(
            json.loads(extra)["number"]
            for (extra,) in history.execute("SELECT extra FROM browser_performance").fetchall()
        )
        keys = history.execute("SELECT DISTINCT source FROM browser_performance").fetchall()
    print(f"{len(acknowledged)} acknowledged, {kept.total()} kept; {taken} turns of the writer")
    assert len(acknowledged) == len(set(acknowledged)) > ROUNDS
    assert {number: kept[number] for number in acknowledged} == dict.fromkeys(acknowledged, 1)
    assert kept.total() - len(acknowledged) <= ROUNDS, "one in each round may not have been told"
    assert len(keys) == 1
