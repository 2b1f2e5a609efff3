"""What all processes of the tests share, each thing made once by whoever comes first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "TESTS_SHARED"
"""Environment variable: the folder for it, which the first process of the tests makes and removes."""


def migrated() -> Path:
    """A database as `manage.py migrate` makes it of nothing, to be copied; other processes wait for it."""
    return _made("migrated", _migrate) / "db.sqlite3"


def sampled() -> Path:
    """A home with the sample model `minilm` and nothing else, to be copied."""
    return _made("sampled", _add_sample)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, which the first process that asks for it makes."""
    folder = Path(os.environ[FOLDER]) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            make(draft)
            draft.rename(folder)
    return folder


def _migrate(home: Path) -> None:
    _manage(home, "migrate", "--verbosity", "0")


def _add_sample(home: Path) -> None:
    home.mkdir()
    shutil.copy(migrated(), home / "db.sqlite3")
    _manage(home, "add_sample", "minilm")


def _manage(home: Path, *words: str) -> None:
    env = {**os.environ, "WEBPOOL_HOME": str(home)}
    command = [sys.executable, "manage.py", *words]
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)


def share_browsers(home: Path) -> None:
    """What `make setup` made for browsers (npm's Chromium unpacked, Firefox's first start) is there for all
    homes of the tests, which only read it; what is not gets made once."""
    tools = _made("tools", _link_tools)
    with contextlib.suppress(FileExistsError):
        (home / "tools").symlink_to(tools)


def _link_tools(folder: Path) -> None:
    folder.mkdir()
    for made in (ROOT / "var" / "tools").glob("[!.]*"):
        (folder / made.name).symlink_to(made)
