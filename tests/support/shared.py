"""What all processes of the tests share, each thing made once by whoever comes first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "TESTS_SHARED"
"""Environment variable: the folder for it, which the first process of the tests makes and removes."""


def migrated() -> Path:
    """A database as `manage.py migrate` makes it of nothing, to be copied; other processes wait for it."""
    home = Path(os.environ[FOLDER]) / "migrated"
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


def share_browsers(home: Path) -> None:
    """npm's Chromium, 200 MB, is unpacked once for all the homes of the tests, which only read it."""
    tools = Path(os.environ[FOLDER]) / "tools"
    tools.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (home / "tools").symlink_to(tools)
