"""`manage.py validate_faults`, as an operator runs it: real faults, figures, a page, an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import ROOT, RunningStack

BROWSER = "chromium"


def validate(
    folder: Path, *args: str, timeout_s: float = 400
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    report = folder / "report.json"
    pool = RunningStack(folder / "home")  # a GPU process is there to be killed where WebGPU is used
    done = subprocess.run(
        [sys.executable, "manage.py", "validate_faults", "--json", str(report), *args],
        cwd=ROOT, env=pool.env, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    own = RunningStack(folder / "home" / "faults")
    assert not own.wait_gone(), "processes outlived the validator's pool"
    assert report.exists(), f"{done.stdout}\n{done.stderr}\n{own.logs()}"
    return done, json.loads(report.read_text())


def test_faults_of_one_browser_are_survived_measured_and_reported(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done, report = validate(
        tmp_path, "--browsers", f"{BROWSER},firefox", "--hurt", f"{BROWSER},firefox",
        "--scenario", "page_crash,gpu_kill", "--runs", "1",
        "--html", str(page),
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    cases = {(case["scenario"], case["browser"]): case for case in report["cases"]}
    firefox = cases.pop(("gpu_kill", "firefox"))
    assert firefox["not_applicable"] == "firefox has no process of its own for the part gpu"
    assert (firefox["hits"], firefox["success_rate"]) == (0, None), (
        "what was not tried did not pass"
    )
    for name, case in cases.items():
        assert (case["hits"], case["success_rate"]) == (1, 1.0), name
        assert case["recovery_p50_ms"] is not None, name
        assert case["whole_again_p50_s"] > 0, name
        assert case["reroutes"] + case["retries"] <= 1, name
    # One whose answer was already on its way when it was hit needs no other.
    assert sum(case["reroutes"] + case["retries"] for case in cases.values()) >= 1
    assert report["proof"]["holds"]
    assert report["proof"]["attempts"]["succeeded"] == report["proof"]["runs"]
    said = page.read_text()
    assert "page_crash" in said
    assert "http" not in said.replace("<!doctype html>", ""), (
        "the page needs nothing from elsewhere"
    )


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ("--scenario", "flood"),
            "unknown scenario flood: expected all, or some of connection_loss",
        ),
        (("--runs", "0"), "--runs: expected 1 or more, got 0"),
        (("--html", "nowhere/page.html"), "nowhere is no folder; make it first"),
        (("--join",), "no pool runs on this home"),
    ],
)
def test_what_cannot_be_validated_says_why(
    tmp_path: Path, args: tuple[str, ...], expected: str
) -> None:
    pool = RunningStack(tmp_path / "home")
    done = pool.manage("validate_faults", *args, check=False)
    assert done.returncode == 2, done.stdout
    assert expected in done.stderr
