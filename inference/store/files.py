"""The files that browsers load: immutable, each named by the SHA-256 of its bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from inference.store.scratch import MADE, scratch


def files_dir() -> Path:
    path: Path = settings.WEBPOOL_HOME / "files"
    return path


def path_of(sha256: str) -> Path:
    return files_dir() / sha256


@contextlib.contextmanager
def made_files() -> Iterator[Path]:
    """A folder on the same disk, for files that are to be kept; gone with the block."""
    files_dir().mkdir(parents=True, exist_ok=True)
    with scratch(files_dir().parent, MADE) as folder:
        yield folder


def keep(path: Path, sha256: str) -> None:
    """Keep a file that was made as an immutable one, completely or not at all.

    Raises:
        ValueError: its bytes have another SHA-256, or it is no plain file.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name}: expected a file")
    with path.open("rb") as file:
        if (found := hashlib.file_digest(file, "sha256").hexdigest()) != sha256:
            raise ValueError(f"a file has the SHA-256 {found}, not {sha256}")
        if not path_of(sha256).exists():
            os.fsync(file.fileno())
            path.replace(path_of(sha256))
