"""The ledger's tests once more, on a PostgreSQL server of their own: children's, whose reports are shown."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import pgbouncer, postgres
from tests.support.shared import ROOT

LEDGER = (
    "postgresql", "conflicts", "ledger", "moves", "lifecycle", "redundancy", "doubts", "sweep",
    "draining", "leases", "history_recording", "hangs", "quarantine", "fair_turns", "quotas", "stealing",
    "standby_ledger", "store_quota", "batch_quotas",
)  # fmt: skip
# What several connections do at once, and what leans on one of them.
POOLED = ("postgresql", "conflicts", "races", "batches")


def test_the_ledgers_tests_pass_on_postgresql(tmp_path: Path) -> None:
    run("postgresql", LEDGER, tmp_path)


def test_real_races_end_well_behind_a_pooler(tmp_path: Path) -> None:
    run("pgbouncer", POOLED, tmp_path)


def run(database: str, names: Sequence[str], folder: Path) -> None:
    """Let a child run these files of tests/django/ on a database of its own."""
    try:
        postgres.programs()
        pgbouncer.program()
    except (postgres.NoPostgres, pgbouncer.NoPgbouncer) as none:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(none))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", f"--basetemp={folder / 'child'}",
         *(f"tests/django/test_{name}.py" for name in names)],
        cwd=ROOT, env={**os.environ, "TESTS_DATABASE": database},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(done.stdout[-4000:])
    assert done.returncode == 0
    assert "skipped" not in done.stdout
