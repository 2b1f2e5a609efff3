"""Where a command is to write."""

from __future__ import annotations

from pathlib import Path

from inference.errors import InvalidRequest
from webpool_site.telling.arguments import why_not_written


def check_place(flag: str, path: Path | None) -> None:
    """Refuse a place where nothing can be written, before anything is computed; None: it is not asked for.

    Raises:
        InvalidRequest.
    """
    if path is not None and (why := why_not_written(path)):
        raise InvalidRequest(f"{flag} {path}: {why}")
