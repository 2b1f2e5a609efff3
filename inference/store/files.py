"""The files that browsers load: immutable, each named by the SHA-256 of its bytes."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings


def files_dir() -> Path:
    path: Path = settings.WEBPOOL_HOME / "files"
    return path


def path_of(sha256: str) -> Path:
    return files_dir() / sha256
