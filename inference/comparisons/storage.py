"""The files of comparisons: inputs and onnxruntime's outputs, written before the comparison's row.

WEBPOOL_HOME/comparisons/<id>.npz    `in:<name>` and `out:<name>`
"""

from __future__ import annotations

import dataclasses
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from django.conf import settings

from inference.documents import Array
from inference.graph.atomic import atomic_write
from inference.models import Comparison
from inference.sandbox import archives
from inference.sandbox.answer_file import IN, OUT
from inference.store.tensors import WireTensor, decode_array, encode_array

_ABANDONED_AFTER_S: Final = 86_400.0


@dataclasses.dataclass(frozen=True)
class Question:
    """What every cell is asked, and what native onnxruntime answered."""

    inputs: Sequence[WireTensor]
    outputs: Sequence[WireTensor]


class QuestionLost(Exception):
    """The file of a comparison is gone or not whole."""


def root() -> Path:
    folder: Path = settings.WEBPOOL_HOME / "comparisons"
    return folder


def path_of(comparison_id: uuid.UUID) -> Path:
    return root() / f"{comparison_id}.npz"


def keep(comparison_id: uuid.UUID, question: Question) -> None:
    """Write the file, whole or not at all."""
    root().mkdir(exist_ok=True)
    named = {f"{IN}{tensor.name}": decode_array(tensor) for tensor in question.inputs}
    named |= {f"{OUT}{tensor.name}": decode_array(tensor) for tensor in question.outputs}
    with atomic_write(path_of(comparison_id)) as file:
        archives.write(file, named)


def read(comparison_id: uuid.UUID) -> Question:
    """Raises QuestionLost."""
    path = path_of(comparison_id)
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise QuestionLost(f"{path.name}: {error}") from error
    return Question(tensors(arrays, IN), tensors(arrays, OUT))


def tensors(arrays: Mapping[str, Array], start: str) -> list[WireTensor]:
    """Those whose name starts so, without it."""
    return [
        encode_array(name.removeprefix(start), array)
        for name, array in arrays.items()
        if name.startswith(start)
    ]


def remove_abandoned() -> None:
    """Files of comparisons that are no more, or that were never written down."""
    if not root().is_dir():
        return
    known = {path_of(pk).name for pk in Comparison.objects.values_list("pk", flat=True)}
    for path in root().iterdir():
        if path.name not in known and time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
            path.unlink(missing_ok=True)
