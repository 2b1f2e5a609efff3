"""What a batch job is asked for besides the options of its runs."""

from __future__ import annotations

from inference.runs.option_kinds import Flag, Whole
from inference.runs.options import Door, Option

DEFAULT_BATCH_SIZE = 32
MOST_BATCH_SIZE = 4096
_JOBS = frozenset({Door.JOBS})

JOB_OPTIONS: tuple[Option, ...] = (
    Option(
        "batch_size", Whole(1, MOST_BATCH_SIZE),
        f"items in one run, at most; left out: as history measured to be best, else {DEFAULT_BATCH_SIZE}",
        _JOBS,
    ),
    Option(
        "concurrency", Whole(1, 256),
        "batches in flight, at most; left out: as many as browsers are ready", _JOBS,
    ),
    Option("again", Flag(), "compute even what was computed before", _JOBS),
)  # fmt: skip
