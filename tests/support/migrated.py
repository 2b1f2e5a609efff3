"""One migrated database for all tests: made once, copied by whoever needs one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.support.home import SHARED

ROOT = Path(__file__).resolve().parents[2]


def migrated() -> Path:
    """What `manage.py migrate` makes of nothing; whoever comes first makes it, other processes wait."""
    home = Path(os.environ[SHARED]) / "migrated"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            draft = home.with_suffix(".draft")
            subprocess.run(
                [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
                cwd=ROOT, env={**os.environ, "WEBPOOL_HOME": str(draft)}, check=True,
            )  # fmt: skip
            draft.rename(home)
    return home / "db.sqlite3"
