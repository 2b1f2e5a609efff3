"""The files of batch jobs. Results are complete or absent: written under another name, synced, renamed.

WEBPOOL_HOME/batches/
    <job id>/in-<index>.npz       input tensors of a batch; deleted once it is done
    <job id>/out-<index>.npz      its outputs: the result
    <job id>/output-<when>.<ext>  put together for a download
    <name>.part                   a job that is being prepared
"""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from django.conf import settings

from inference.documents import Array
from inference.graph.atomic import sync


def root() -> Path:
    folder: Path = settings.WEBPOOL_HOME / "batches"
    return folder


def folder_of(job_id: uuid.UUID | str) -> Path:
    return root() / str(job_id)


def inputs_path(folder: Path, index: int) -> Path:
    return folder / f"in-{index:06d}.npz"


def result_path(folder: Path, index: int) -> Path:
    return folder / f"out-{index:06d}.npz"


def publish(part: Path, job_id: uuid.UUID) -> None:
    """Make a prepared folder the job's own, with everything in it on the disk.

    Files are synced after all were written: one by one while writing takes many times as long.
    """
    for path in part.iterdir():
        sync(path)
    sync(part)
    part.rename(folder_of(job_id))
    sync(root())


def read_arrays(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
