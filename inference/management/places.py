"""Where a command is to write."""

from __future__ import annotations

from pathlib import Path

from inference.errors import InvalidRequest
from webpool_site.telling.arguments import why_not_written


def check_place(flag: str, path: Path | None, *read: Path | None) -> None:
    """Refuse a place where nothing can be written, before anything is computed; None: it is not asked for.

    `read`: files that the command reads, which it would write over.

    Raises:
        InvalidRequest.
    """
    if path is not None and (why := why_not_written(path)):
        raise InvalidRequest(f"{flag} {path}: {why}")
    if path is not None and path.exists():
        for one in read:
            if one is not None and one.exists() and path.samefile(one):
                raise InvalidRequest(f"{flag} {path}: this is the input itself; name another file")
