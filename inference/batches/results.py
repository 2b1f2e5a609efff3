"""The results of a job in the order of its items: JSONL, npz or Parquet.

Every format has `_item`, the item's position in the input file. JSONL and Parquet hold every item, those
that failed with `_error`; npz holds the items that have a result. Items whose results differ in shape
are arrays of their own in npz, named `<output>.<item>`. They are written in the sandbox, one owner's
after one another: a large result costs others neither time nor a place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inference import sandbox
from inference.batches import parquet, storage
from inference.catalog.uploads import Conflict
from inference.documents import Array, JsonObject
from inference.graph.atomic import sync
from inference.graph.batching.batch_axis import Verdict
from inference.models.batches import BatchJob, BatchState, JobState
from inference.store.ports import specs
from inference.store.scratch import scratch

ITEM, ERROR = "_item", "_error"
EXTENSIONS = {"jsonl": ".jsonl", "npz": ".npz", "parquet": ".parquet"}
_S_PER_MB, _TEXT_PER_BYTE = 10.0, 32
_DOWNLOADS = sandbox.Places("a batch job's results put together")
# Who puts results together has one of those; it takes none of the sandbox's own.
_WRITING = sandbox.Places("results written", most_waiting=None)


def write_output(job: BatchJob, target: Path, kind: str) -> None:
    """Put the results together; the file appears complete or not at all.

    Raises:
        Conflict: the job is still running, or its results do not fit the format.
    """
    if job.state == JobState.RUNNING:
        raise Conflict(f"batch job {job.pk} is still running; ask again")
    with scratch(target.parent, f".{target.name}.") as folder:
        made = folder / "made"
        try:
            if kind == "parquet":
                _write_parquet(job, made)
            else:
                _put_together(job, made, kind)
        except parquet.NotParquet as error:
            raise Conflict(
                f"the results cannot be Parquet: {error}; ask for jsonl or npz"
            ) from error
        except sandbox.Refused as error:
            raise Conflict(f"the results of {job} cannot be put together: {error}") from error
        sync(made)
        made.replace(target)
        sync(target.parent)


def download(job: BatchJob, kind: str) -> Path:
    """The results as a file of the job's folder, put together at the first call.

    Raises:
        Conflict: as `write_output`.
        Busy: too many downloads of the caller wait.
    """
    if job.finished_at is None:
        raise Conflict(f"batch job {job.pk} is still running; ask again")
    when = f"{job.finished_at:%Y%m%dT%H%M%S%f}"
    path = storage.folder_of(job.pk) / f"output-{when}{EXTENSIONS[kind]}"
    if not path.exists():
        with _DOWNLOADS.taken():
            if not path.exists():
                write_output(job, path, kind)
    return path


def _put_together(job: BatchJob, target: Path, kind: str) -> int:
    """In the sandbox, a piece at a time; returns the bytes of the longest line."""
    batches, placed = _batches(job)
    folder = storage.folder_of(job.pk)
    files = [folder / batch["file"] for batch in batches if batch["file"] is not None]
    said = sandbox.ask(
        "results",
        reads=[folder],
        writes=target.parent,
        limits=_limits(files),
        places=_WRITING,
        arrays=placed,
        folder=str(folder.absolute()),
        target=str(target.absolute()),
        kind=kind,
        batches=batches,
        ports=[
            {"name": port.name, "single": port.shape[:1] == (1,)}
            for port in specs(job.model.outputs)
        ],
        by_rows=job.model.batch.verdict != Verdict.NO,
        names={"item": ITEM, "error": ERROR},
    )
    return int(said.document["longest"])


def _limits(files: Sequence[Path]) -> sandbox.Limits:
    """Numbers as text take up to thirty times their bytes, and their time."""
    usual = sandbox.limits_for()
    size = sum(path.stat().st_size for path in files if path.is_file())
    return dataclasses.replace(
        usual,
        seconds=usual.seconds + size / 1e6 * _S_PER_MB,
        file_bytes=usual.file_bytes + _TEXT_PER_BYTE * size,
    )


def _batches(job: BatchJob) -> tuple[list[JsonObject], Mapping[str, Array]]:
    """What is known of each batch, and where each item of the job lies: as the sandbox's job takes it."""
    batch_of, at_of = np.zeros((2, job.item_count), np.int64)
    batches: list[JsonObject] = []
    for batch in job.batches.iterator():
        done = batch.state == BatchState.DONE
        batch_of[batch.items] = len(batches)
        at_of[batch.items] = np.arange(len(batch.items))
        batches.append(
            {
                "file": storage.result_path(Path(), batch.index).name if done else None,
                "error": "" if done else batch.error or f"not computed: {batch.state}",
                "count": batch.item_count,
                "rows": batch.rows,
                "adds_axis": batch.adds_axis,
            }
        )
    return batches, {"batch": batch_of, "at": at_of}


def _write_parquet(job: BatchJob, target: Path) -> None:
    columns = {ITEM: "BIGINT", **_columns(job), ERROR: "VARCHAR"}
    lines = target.with_name("lines")
    longest = _put_together(job, lines, "jsonl")
    parquet.from_jsonl(lines, columns, target, longest=longest, places=_WRITING)
    lines.unlink()


def _columns(job: BatchJob) -> dict[str, str]:
    """Output name → SQL type. Whether an axis was dropped is known from any batch: items that differ in it
    cannot be one column."""
    by_rows = job.model.batch.verdict != Verdict.NO
    kinds = set(job.batches.filter(state=BatchState.DONE).values_list("adds_axis", flat=True))
    if len(kinds) > 1:
        raise Conflict(
            "some items came with the batch axis and some without, so that their results have no common "
            "column type; ask for jsonl or npz"
        )
    adds_axis = kinds == {True}
    columns = {}
    for port in specs(job.model.outputs):
        dropped = adds_axis and (by_rows or port.shape[:1] == (1,))
        columns[port.name] = parquet.sql_type(port.dtype, len(port.shape) - dropped)
    return columns
