"""A stranger's model file, read in the sandbox."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from inference import sandbox
from inference.catalog.loadable import loads
from inference.documents import JsonObject


@dataclasses.dataclass(frozen=True)
class Read:
    """What came of a file.

    Attributes:
        path: the model as one file, in the folder that was given.
        summary: as `ModelSummary.to_json`.
        work: its estimated work.
        decoder: of a decoder with a cache, what its graph tells; None for any other model.
        no_decoder: why one that has a cache is none that can write text.
    """

    path: Path
    sha256: str
    summary: JsonObject
    work: float
    decoder: JsonObject | None = None
    no_decoder: str = ""


def read(
    path: Path,
    folder: Path,
    *,
    called: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Read:
    """Read and check a file, and write it as one into a folder; `overrides` are weights that become inputs.

    `called`: usual names of a decoder's inputs that have their own, such as {"tokens": "input_ids"}.

    Where the browsers' runtime is too old for it, it is written for an older one, if that changes nothing;
    its summary's `runtime` says so, or why that runtime could not be asked.

    Raises:
        ValueError: it is no model that onnxruntime and the browsers' runtime can run, or it could not be
            read within the limits.
    """
    # Where its external data may lie: beside it, also where it is a link into another folder.
    folders = [path.parent, path.resolve().parent]
    beside = [file for file in path.parent.iterdir() if file.is_file()] if path.is_file() else []
    found, _ = _asked(path, folder, folders, beside, called=called, overrides=overrides)
    said = loads(found.path)
    done = ""
    if said.refused:
        lowered, done = _asked(found.path, folder, [], [found.path], lowered=True, called=called)
        again = loads(lowered.path) if done else said
        if again.refused:
            raise ValueError(f"onnxruntime-web, which browsers run, refuses it: {again.refused}")
        found, said = lowered, again
    found.summary["runtime"] = {"lowered": done, "unknown": said.unknown}
    return found


def _asked(
    path: Path,
    folder: Path,
    reads: list[Path],
    files: list[Path],
    *,
    lowered: bool = False,
    called: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Read, str]:
    said = sandbox.ask(
        "read",
        reads=reads,
        writes=folder,
        limits=sandbox.limits_for(files),
        path=str(path.absolute()),
        folder=str(folder),
        lowered=lowered,
        called=dict(called or {}),
        overrides=list(overrides),
    ).document
    summary = said["summary"]
    sha256 = str(summary["sha256"])
    made = Read(
        folder / Path(sha256).name,
        sha256,
        summary,
        float(said["work"]),
        said["decoder"],
        str(said["no_decoder"]),
    )
    return made, str(said["done"])
