"""How much a job may take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

_PER_BYTE = 8  # parsed, written anew, optimised, weights packed: several copies of a model at once
_S_PER_GB = 60.0
_MOST_FILE_BYTES = 4 * 2**30
_MOST_BYTES = 2**31  # what one model can have at most


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of one job.

    Attributes:
        memory_mb: what it may allocate.
        seconds: how long each of its answers may take.
        file_bytes: how large a file it may write.
    """

    memory_mb: int
    seconds: float
    file_bytes: int = _MOST_FILE_BYTES


def limits_for(files: Iterable[Path] = (), *, seconds: float | None = None) -> Limits:
    """The limits of a job that reads these files: what every job may take, and more for large files.

    A file's links are followed: what counts is what would be read. One that is missing counts nothing.
    """
    size = min(_MOST_BYTES, sum(path.stat().st_size for path in files if path.is_file()))
    allowed = settings.WEBPOOL_SANDBOX_SECONDS if seconds is None else seconds
    return Limits(
        memory_mb=settings.WEBPOOL_SANDBOX_MEMORY_MB + int(_PER_BYTE * size / 2**20),
        seconds=allowed + size / 1e9 * _S_PER_GB,
    )
