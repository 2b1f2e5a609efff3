"""The ledger's tests once more, on a PostgreSQL server of their own: a child's, whose report is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.shared import ROOT

FILES = (
    "postgresql", "races", "ledger", "moves", "lifecycle", "redundancy", "doubts", "sweep", "turns",
    "draining", "leases", "history_recording", "hangs", "quarantine", "quotas", "store_quota", "batch_quotas",
)  # fmt: skip


def test_the_ledgers_tests_pass_on_postgresql(tmp_path: Path) -> None:
    try:
        postgres.programs()
    except postgres.NoPostgres as none:
        pytest.skip(str(none))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", f"--basetemp={tmp_path / 'child'}",
         *(f"tests/django/test_{name}.py" for name in FILES)],
        cwd=ROOT, env={**os.environ, "TESTS_DATABASE": "postgresql"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(done.stdout[-4000:])
    assert done.returncode == 0
    assert "skipped" not in done.stdout
