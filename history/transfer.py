"""Export and import: what one history learned, for another one or for other programs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from history import recording, vocabulary
from history.core.parsing import parse
from history.core.samples import Observation, refusals
from history.errors import Refused
from webpool_site.telling.arguments import name_of, no_text, why_not_written

FORMATS = ("json", "csv", "parquet")
_WRONG_SHOWN = 5


def format_of(path: Path, file_format: str | None) -> str:
    """The format asked for, else the one that the file's name tells.

    Raises:
        Refused: neither is one of FORMATS.
    """
    wanted = file_format or path.suffix.removeprefix(".").lower()
    if wanted not in FORMATS:
        raise Refused(
            f"{name_of(path)}: format {wanted!r}: expected one of {', '.join(FORMATS)}, as the file's ending "
            "or by --format"
        )
    return wanted


def export(
    path: Path,
    *,
    file_format: str | None = None,
    browser: str | None = None,
    model_type: str | None = None,
    model_name: str | None = None,
    days: float | None = None,
    progress: Callable[[float], object] = lambda percent: None,
) -> int:
    """Write samples into a file; returns how many. Recording goes on meanwhile.

    Raises:
        Refused: an unknown format, or a place where no file can be written.
    """
    from history.store import files, latest

    wanted = format_of(path, file_format)
    if why := why_not_written(path) or no_text({path.name: str(path)}):  # DuckDB takes no other
        raise Refused(f"{path}: {why}")
    return files.write(
        latest(recording.history_path()),
        path,
        wanted,
        progress,
        browser=browser,
        model_type=model_type,
        model_name=model_name,
        since=since(days),
    )


def import_file(
    path: Path,
    *,
    file_format: str | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> int:
    """Add the samples of a file that are not there yet; returns how many those were.

    The file is read and checked as a whole before anything changes, beside the history, which records on
    meanwhile. `progress` is called with the number of rows that were read.

    Raises:
        Refused: the file, or a row of it, cannot be right; nothing was changed.
        HistoryBusy: another process writes; nothing was changed.
    """
    from history.store import HistoryStore

    wanted = format_of(path, file_format)
    with HistoryStore.temporary(recording.history_path()) as staging:
        for batch in _observations(path, wanted):
            staging.record(batch)
            progress(len(batch))
        with recording.open_store() as store:
            return store.add_all_of(staging)


def _observations(path: Path, file_format: str) -> Iterator[list[Observation]]:
    from history.store import files

    now = datetime.now(UTC).replace(tzinfo=None)
    browsers = vocabulary.browsers()
    source = f"import:{_digest(path)}"
    wrong: list[str] = []
    number = 0
    for rows in files.read(path, file_format):
        batch = []
        for row in rows:
            number += 1
            try:
                item = parse(row, source=source, number=number)
                problems = list(refusals(item, now=now, browsers=browsers))
            except ValueError as error:
                problems = [str(error)]
            if problems:
                wrong += [f"row {number}: {problem}" for problem in problems]
            else:
                batch.append(item)
            if len(wrong) >= _WRONG_SHOWN:
                break
        if wrong:
            shown = "; ".join(wrong[:_WRONG_SHOWN])
            raise Refused(f"{name_of(path)} was not imported, nothing has changed: {shown}")
        yield batch


def _digest(path: Path) -> str:
    """Names the file, so that importing it twice adds nothing the second time."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}") from error


def since(days: float | None) -> datetime | None:
    """So many days ago, as timestamps are kept.

    Raises:
        Refused: not a number of days.
    """
    if days is None:
        return None
    if not 0 < days < 36_500:
        raise Refused(f"days {days}: expected a number above 0 and below 36500")
    return datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
