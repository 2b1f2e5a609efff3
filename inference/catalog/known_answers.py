"""What is known of every file that browsers load: onnxruntime's answers, and what no answer shows.

Found out when a model is cut, and kept beside its files as `known_answers/<sha256>.npz`:

1. A plan's steps are run one after another on seeded inputs; each file's inputs and outputs are kept. There
   are several cases: normal numbers, small whole ones (ties, zeros), other sizes of its dynamic dimensions.
2. A file that draws random numbers, takes strings, is too large to be run here or refuses all cases has
   none, and the reason is kept: nothing is assumed of it.
3. Its traits (`graph/forms.py`) say for which backends answers to some cases prove nothing.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from django.conf import settings

from browsers.core.answers.agreement import HALF, SINGLE, varies
from browsers.core.answers.known import RULES, Known, KnownAnswer
from browsers.core.protocol import WireTensor
from inference import sandbox
from inference.documents import Array, JsonObject
from inference.models import PlanStep, StepKind
from inference.sandbox import archives
from inference.sandbox.answer_file import IN, META, OUT, UNTOLD, packed, unpacked
from inference.store.files import path_of as file_of
from inference.store.scratch import MADE, scratch
from inference.store.tensors import encode_array

log = logging.getLogger(__name__)
Arrays = dict[str, Array]
_MOST_BYTES: Final = 1_000_000_000  # of a step's weights: they are in memory while it is answered
_MOST_REMEMBERED: Final = 256
_UNTOLD: Final = (
    "the graph of %s cannot be followed, it may hold every form that backends get wrong: %s"
)
_KNOWN: dict[str, Known] = {}


def make(steps: Sequence[PlanStep]) -> None:
    """Find out what of a plan's files is not known yet.

    Copies that share a batch have the same files: the first is enough.
    """
    steps = [step for step in steps if step.batch_part in (None, 0)]
    computing = [step for step in steps if step.kind == StepKind.COMPUTE]
    if all(path_of(step.sha256).exists() for step in computing):
        return
    files = {step.sha256 for step in computing}
    with scratch(path_of("").parent, MADE) as folder:
        why_none = _asked(steps, computing, folder)
        for sha256 in files:
            made = folder / path_of(sha256).name
            if why_none:
                log.info("no known answer for %s: %s", sha256, why_none)
                _write_none(made, sha256, why_none)
            made.replace(path_of(sha256))


def _asked(steps: Sequence[PlanStep], computing: Sequence[PlanStep], folder: Path) -> str:
    """Have every file's answers written into a folder; or why there are none."""
    largest = max(computing, key=lambda step: step.weight_bytes)
    if largest.weight_bytes > _MOST_BYTES:
        return (
            f"{largest} has {largest.weight_bytes / 1e9:.1f} GB of weights, too much to be run here"
        )
    try:
        untold = sandbox.ask(
            "answers",
            reads=[file_of(step.sha256) for step in computing],
            writes=folder,
            steps=[_told(step) for step in steps],
            folder=str(folder),
        ).document
    except sandbox.Refused as error:
        return f"onnxruntime answers no made-up input: {error}"
    for sha256, why in untold.items():
        log.warning(_UNTOLD, sha256, why)
    return ""


def _told(step: PlanStep) -> JsonObject:
    """A step as the sandbox is told of it."""
    return {
        "sha256": step.sha256,
        "path": str(file_of(step.sha256)),
        "inputs": step.inputs,
        "outputs": step.outputs,
        "tensor_of": step.tensor_of,
        "join": step.join,
        "stage": step.stage,
    }


def _write_none(path: Path, sha256: str, why_none: str) -> None:
    meta = packed({**_traits(sha256), "rules": RULES, "why_none": why_none, "dims": []})
    with path.open("wb") as file:
        archives.write(file, {META: meta})


def _traits(sha256: str) -> JsonObject:
    """What the graph itself tells; of one that cannot be followed, that it may hold every bad form."""
    path = file_of(sha256)
    try:
        found: JsonObject = sandbox.ask("traits", reads=[path], path=str(path)).document
    except (sandbox.Refused, sandbox.Failed) as error:
        log.warning(_UNTOLD, sha256, error)
        return UNTOLD
    return found


def path_of(sha256: str) -> Path:
    path: Path = settings.WEBPOOL_HOME / "known_answers" / f"{sha256}.npz"
    return path


def known(sha256: str) -> Known:
    """What is known of a file; of one that nothing was kept of, what the file itself tells."""
    found = _KNOWN.get(sha256)
    if found is None:
        found, kept = _known(sha256)
        if kept:  # else it may be there the next time
            _KNOWN[sha256] = found
            while len(_KNOWN) > _MOST_REMEMBERED:
                del _KNOWN[next(iter(_KNOWN))]
    return found


def _known(sha256: str) -> tuple[Known, bool]:
    """What is known of a file, and whether that is what was kept of it."""
    try:
        with np.load(path_of(sha256), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        if unpacked(arrays[META])["rules"] == RULES:
            return _read(arrays), True
        why = "none was kept by these rules; cut the model anew"
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.warning("no known answers of %s can be read: %s", sha256, error)
        why = f"none was kept ({type(error).__name__})"
    return _read({META: packed(_traits(sha256) | {"why_none": why})}), False


def _read(arrays: Arrays) -> Known:
    meta = unpacked(arrays.pop(META))
    answers = tuple(
        KnownAnswer(_tensors(arrays, f"{number}:{IN}"), _tensors(arrays, f"{number}:{OUT}"), dims)
        for number, dims in enumerate(meta.get("dims", []))
    )
    outputs = {tensor.name for answer in answers for tensor in answer.outputs}
    return Known(
        answers=answers,
        why_none=meta["why_none"],
        random=bool(meta["random"]),
        constant=tuple(sorted(outputs - varies([answer.outputs for answer in answers]))),
        forms=frozenset(meta["forms"]),
        index_limits=meta["index_limits"],
        narrows=bool(meta["narrows"]),
        tolerance=HALF if meta["halves"] else SINGLE,
    )


def _tensors(arrays: Arrays, start: str) -> list[WireTensor]:
    return [
        encode_array(name.removeprefix(start), array)
        for name, array in arrays.items()
        if name.startswith(start)
    ]
