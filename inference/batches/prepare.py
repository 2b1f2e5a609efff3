"""From the file of a new job to its batches: every item checked, every batch's inputs written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from inference.batches import storage
from inference.batches.items import Group, Grouper, Item, ItemReader
from inference.batches.readers import read_items
from inference.errors import InvalidRequest
from inference.models.batches import Batch, BatchJob
from inference.sandbox import archives

_MOST_SHOWN = 20  # wrong items that a refusal lists
_MOST_BATCH_BYTES = 64 * 2**20  # a larger item is a batch of its own


class BadItems(InvalidRequest):
    """Items that cannot be computed; the message lists them with their lines."""


def prepare(job: BatchJob, source: Path, folder: Path) -> list[Batch]:
    """Write the input file of each batch; returns the unsaved rows, and sets the job's counts.

    Raises:
        BadItems: items that the model cannot take.
        InvalidRequest: the file cannot be read, or holds no items.
        TooLarge: it holds more than a job may.
    """
    most = min(_MOST_BATCH_BYTES, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)  # a batch is a request
    grouper = Grouper(most_items=job.batch_size, most_bytes=most)
    batches: list[Batch] = []
    filled_in: dict[str, None] = {}
    count = 0
    for position, item in enumerate(_checked_items(job, source)):
        count += 1
        filled_in.update(dict.fromkeys(item.filled_in))
        batches += [_written(job, g, folder, len(batches)) for g in grouper.add(position, item)]
    for group in grouper.rest():
        batches.append(_written(job, group, folder, len(batches)))
    if not count:
        raise InvalidRequest(f"{job.source_name} holds no items")
    job.item_count, job.batch_count, job.filled_in = count, len(batches), list(filled_in)
    return batches


def _checked_items(job: BatchJob, source: Path) -> Iterator[Item]:
    """The items; once one is wrong no more are yielded, but the rest is checked too.

    Raises:
        BadItems: at the end, if any was wrong.
        TooLarge.
    """
    reader = ItemReader(job.model, lists=job.source_format != "npz")
    wrong: list[str] = []
    wrong_count = 0
    for raw in read_items(source, job.source_format, reader.types, reader.like):
        try:
            if raw.values is None:
                raise InvalidRequest(raw.error)
            item = reader.read(raw.values)
        except InvalidRequest as error:
            wrong_count += 1
            if len(wrong) < _MOST_SHOWN:
                wrong.append(f"{raw.where}: {error}")
            continue
        if not wrong_count:
            yield item
    if wrong_count:
        if wrong_count > len(wrong):
            wrong.append(f"and {wrong_count - len(wrong)} more")
        plural = "items" if wrong_count > 1 else "item"
        raise BadItems(
            f"{Path(job.source_name).name}: {wrong_count} {plural} cannot be computed, so nothing was:\n"
            + "\n".join(wrong)
        )


def _written(job: BatchJob, group: Group, folder: Path, index: int) -> Batch:
    with storage.inputs_path(folder, index).open("xb") as file:
        archives.write(file, group.tensors())
    return Batch(
        job=job,
        index=index,
        items=group.positions,
        item_count=len(group.positions),
        rows=group.items[0].rows,
        adds_axis=group.items[0].adds_axis,
    )
