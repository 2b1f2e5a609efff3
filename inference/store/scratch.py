"""Folders for what is being made, locked as long as their process lives: so those of the dead are known.

A process that is killed removes nothing, nor does a pool that is stopped in the middle of an upload;
the kernel unlocks what they had locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UPLOAD: Final = "upload-"
MADE: Final = ".made-"
PART: Final = ".part"

_PLACES: Final = (
    f"{MADE}*", f"files/{MADE}*", f"known_answers/{MADE}*", f"models/{UPLOAD}*", f"batches/{UPLOAD}*",
    f"batches/*{PART}", "batches/*/.*",
)  # fmt: skip
"""Where they are in the home."""
_YOUNG_S: Final = 1.0
"""One that was made just now may not be locked yet."""


@contextlib.contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder, gone with the block."""
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name, in_use(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep a folder from `remove_abandoned` until the end of the block, or of this process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(
            OSError
        ):  # a file system without locks: nothing is removed there either
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(home: Path) -> list[Path]:
    """Remove the folders of processes that are no more; returns them."""
    found = [path for place in _PLACES for path in home.glob(place) if path.is_dir()]
    return [path for path in found if _removed(path)]


def _removed(folder: Path) -> bool:
    try:
        if time.time() - folder.stat().st_mtime < _YOUNG_S:
            return False
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # it went meanwhile, or is no folder of ours
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # somebody works there, or the file system knows no locks
        return False
    finally:
        os.close(descriptor)
    return True
