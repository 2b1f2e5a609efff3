"""The results of a job in the order of its items: JSONL, npz or Parquet.

Every format has `_item`, the item's position in the input file. JSONL and Parquet hold every item, those
that failed with `_error`; npz holds the items that have a result. Items whose results differ in shape
are arrays of their own in npz, named `<output>.<item>`.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from inference.batches import parquet, storage
from inference.catalog.uploads import Conflict
from inference.documents import Array, JsonObject
from inference.graph.atomic import atomic_write
from inference.graph.batching.batch_axis import Verdict
from inference.graph.spec import TensorSpec
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.sandbox import archives
from inference.store.ports import specs

ITEM, ERROR = "_item", "_error"
EXTENSIONS = {"jsonl": ".jsonl", "npz": ".npz", "parquet": ".parquet"}
_MOST_OPEN = 64  # results kept in memory: items of many shapes alternate between batches


@dataclasses.dataclass(frozen=True)
class ItemResult:
    """What became of one item: its outputs, or why it has none."""

    item: int
    outputs: Mapping[str, Array] | None
    error: str = ""


def split(
    outputs: Mapping[str, Array],
    ports: Sequence[TensorSpec],
    *,
    count: int,
    rows: int,
    adds_axis: bool,
    by_rows: bool,
) -> list[dict[str, Array]]:
    """A batch's outputs as those of its `count` items, each with `rows` rows.

    Where the axis was added to the items it is taken from their results. A model whose outputs do not have
    a row for each row (`by_rows` False) has one item in a batch, and loses the axis of outputs declared to
    have a single row.
    """
    items: list[dict[str, Array]] = [{} for _ in range(count)]
    for port in ports:
        array = outputs[port.name]
        if not by_rows:
            alone = adds_axis and port.shape[:1] == (1,)
            items[0][port.name] = array[0, ...] if alone else array
            continue
        for index, item in enumerate(items):
            part = array if count == 1 else array[index * rows : (index + 1) * rows]
            item[port.name] = part[0, ...] if adds_axis else part
    return items


def item_results(job: BatchJob) -> Iterator[ItemResult]:
    """Every item of the job in order."""
    where: dict[int, tuple[int, int]] = {}
    batches = {batch.index: batch for batch in job.batches.all()}
    for batch in batches.values():
        where.update({item: (batch.index, at) for at, item in enumerate(batch.items)})
    results = _Results(job)
    for item in range(job.item_count):
        batch_index, at = where[item]
        batch = batches[batch_index]
        if batch.state == BatchState.DONE:
            yield ItemResult(item, results.of(batch)[at])
        else:
            yield ItemResult(item, None, batch.error or f"not computed: {batch.state}")


class _Results:
    """The result files, the latest ones kept in memory."""

    def __init__(self, job: BatchJob) -> None:
        self._folder = storage.folder_of(job.pk)
        self._ports = specs(job.model.outputs)
        self._by_rows = job.model.batch.verdict != Verdict.NO
        self._open: OrderedDict[int, list[dict[str, Array]]] = OrderedDict()

    def of(self, batch: Batch) -> list[dict[str, Array]]:
        if batch.index not in self._open:
            path = storage.result_path(self._folder, batch.index)
            try:
                outputs = storage.read_arrays(path)
            except (OSError, ValueError) as error:
                raise Conflict(f"the result of {batch} cannot be read: {error}") from error
            self._open[batch.index] = split(
                outputs,
                self._ports,
                count=batch.item_count,
                rows=batch.rows,
                adds_axis=batch.adds_axis,
                by_rows=self._by_rows,
            )
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(batch.index)
        return self._open[batch.index]


def write_output(job: BatchJob, target: Path, kind: str) -> None:
    """Put the results together; the file appears complete or not at all.

    Raises:
        Conflict: the job is still running, or its results do not fit the format.
    """
    if job.state == JobState.RUNNING:
        raise Conflict(f"batch job {job.pk} is still running; ask again")
    writers: dict[str, Callable[[BatchJob, IO[bytes]], object]] = {
        "jsonl": _write_jsonl,
        "npz": _write_npz,
        "parquet": _write_parquet,
    }
    try:
        with atomic_write(target) as file:
            writers[kind](job, file)
    except parquet.NotParquet as error:
        raise Conflict(f"the results cannot be Parquet: {error}; ask for jsonl or npz") from error


def download(job: BatchJob, kind: str) -> Path:
    """The results as a file of the job's folder, put together at the first call."""
    if job.finished_at is None:
        raise Conflict(f"batch job {job.pk} is still running; ask again")
    when = f"{job.finished_at:%Y%m%dT%H%M%S%f}"
    path = storage.folder_of(job.pk) / f"output-{when}{EXTENSIONS[kind]}"
    if not path.exists():
        write_output(job, path, kind)
    return path


def _write_jsonl(job: BatchJob, file: IO[bytes]) -> int:
    """Returns the bytes of the longest line."""
    longest = 0
    for result in item_results(job):
        line: JsonObject = {ITEM: result.item}
        if result.outputs is None:
            line[ERROR] = result.error
        else:
            line |= {name: plain(array) for name, array in result.outputs.items()}
        longest = max(longest, file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n"))
    return longest


def plain(array: Array) -> object:
    """An array as nested lists; NaN and infinities, which JSON lacks, as "nan", "inf" and "-inf"."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        listed = array.astype(object)
        odd = ~np.isfinite(array)
        listed[odd] = [str(float(value)) for value in array[odd]]
        return listed.tolist()
    return array.tolist()


def _write_npz(job: BatchJob, file: IO[bytes]) -> None:
    done = [result for result in item_results(job) if result.outputs is not None]
    arrays: dict[str, Array] = {ITEM: np.array([result.item for result in done], np.int64)}
    for port in specs(job.model.outputs):
        each = [result.outputs[port.name] for result in done if result.outputs is not None]
        if len({array.shape for array in each}) == 1:
            arrays[port.name] = np.stack(each)
        else:
            arrays |= {f"{port.name}.{r.item}": a for r, a in zip(done, each, strict=True)}
    archives.write(file, arrays)


def _write_parquet(job: BatchJob, file: IO[bytes]) -> None:
    columns = {ITEM: "BIGINT", **_columns(job), ERROR: "VARCHAR"}
    lines, made = (Path(f"{file.name}.{suffix}") for suffix in ("jsonl", "parquet"))
    try:
        with lines.open("xb") as intermediate:
            longest = _write_jsonl(job, intermediate)
        parquet.from_jsonl(lines, columns, made, longest=longest)
        with made.open("rb") as whole:
            while chunk := whole.read(2**20):
                file.write(chunk)
    finally:
        lines.unlink(missing_ok=True)
        made.unlink(missing_ok=True)


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
