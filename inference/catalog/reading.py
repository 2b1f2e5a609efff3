"""A stranger's model file, read in the sandbox."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from inference import sandbox


@dataclasses.dataclass(frozen=True)
class Read:
    """What came of a file.

    Attributes:
        path: the model as one file, in the folder that was given.
        summary: as `ModelSummary.to_json`.
        work: its estimated work.
    """

    path: Path
    sha256: str
    summary: dict[str, Any]
    work: float


def read(path: Path, folder: Path) -> Read:
    """Read and check a file, and write it as one into a folder.

    Raises:
        ValueError: it is no model that onnxruntime can run, or it could not be read within the limits.
    """
    # Where its external data may lie: beside it, also where it is a link into another folder.
    folders = [path.parent, path.resolve().parent]
    beside = [file for file in path.parent.iterdir() if file.is_file()] if path.is_file() else []
    said = sandbox.ask(
        "read",
        reads=folders,
        writes=folder,
        limits=sandbox.limits_for(beside),
        path=str(path.absolute()),
        folder=str(folder),
    ).document
    summary = said["summary"]
    sha256 = str(summary["sha256"])
    return Read(folder / Path(sha256).name, sha256, summary, float(said["work"]))
