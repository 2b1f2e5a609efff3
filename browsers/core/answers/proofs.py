"""Which backend of a browser may compute a file: one that answered it right. Pure decisions.

1. wasm is proved by the file's known answers, which onnxruntime made when the file was written. Its numbers
   do not depend on the shapes of the inputs, so a proof holds for all of them.
2. Any other backend is proved by wasm in the same page: the inputs that were asked for, and variants of them
   of the same shapes, must get the same answers. A proof holds for these shapes and numbers (`sizes`).
3. A backend that answered otherwise, refused what wasm computes, or broke, is excluded for the file, whatever
   the shapes, until the browser or onnxruntime-web is another build or an operator forgets the proof.
   Where only unusual numbers are answered otherwise, it is excluded for those.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from browsers.core.answers.agreement import numbers
from browsers.core.answers.sizes import size_of
from browsers.core.errors import UnsupportedOperation
from browsers.core.protocol import WireTensor

TRIALS: Final = 3
"""Raised when backends are tried in another way: older proofs count no more."""
ANY_SHAPES: Final = ""
_LONGEST: Final = 200
_FEW: Final = 8  # of a shape, or of paddings


class Verdict(enum.StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    REFUSED = "refused"  # it lacks something, or takes what is right for wrong
    BROKE = "broke"  # its engine, its page or its browser stopped


@dataclass(frozen=True)
class Proof:
    """What came of trying a file on a backend.

    Attributes:
        shapes: of the inputs, as `shapes_of` says them; ANY_SHAPES: it holds for all. What was wrong for
            some shapes says nothing of others only where `scope_of` says so.
        reason: what was wrong; empty where it was right.
        cases: how many different inputs were answered.
    """

    sha256: str
    backend: str
    shapes: str
    verdict: Verdict
    reason: str = ""
    cases: int = 0


class Standing(enum.Enum):
    PROVED = enum.auto()
    OPEN = enum.auto()
    EXCLUDED = enum.auto()


class Unproved(UnsupportedOperation):
    """The backend was not tried on this file with such shapes yet; it is tried when the browser is idle."""


class Excluded(UnsupportedOperation):
    """The backend answered this file wrongly, or could not, in this build of the browser."""


def standing(proofs: Iterable[Proof], backend: str, shapes: str) -> tuple[Standing, str]:
    """How a backend stands for a file, and why it is excluded if it is."""
    mine = [proof for proof in proofs if proof.backend == backend]
    held = [proof for proof in mine if proof.shapes in (shapes, ANY_SHAPES)]
    for proof in held:
        if proof.verdict is not Verdict.RIGHT:
            return Standing.EXCLUDED, f"{proof.verdict} ({proof.reason})"
    found = bool(held)
    return (Standing.PROVED if found else Standing.OPEN), ""


def ever_right(proofs: Iterable[Proof], backend: str) -> bool:
    """Whether the backend answered the file right for some shapes, and is not excluded for all."""
    mine = [proof for proof in proofs if proof.backend == backend]
    right = any(proof.verdict is Verdict.RIGHT for proof in mine)
    return right and not any(
        proof.verdict is not Verdict.RIGHT and proof.shapes == ANY_SHAPES for proof in mine
    )


def shapes_of(inputs: Sequence[WireTensor]) -> str:
    """Types and shapes of inputs in one line, the same for the same ones; a digest where that is long.

    With the values of integers that may say sizes inside of the model: a scalar, or a few in a row. With how
    large floats are, and ~0 where some are so near zero that fewer bits hold them.
    """
    said = " ".join(
        f"{tensor.name}:{tensor.dtype}[{'×'.join(map(str, tensor.shape))}]"
        + _sizes(tensor)
        + size_of(tensor).name
        for tensor in sorted(inputs, key=lambda one: one.name)
    )
    return said if len(said) <= _LONGEST else hashlib.sha256(said.encode()).hexdigest()


def scope_of(inputs: Sequence[WireTensor]) -> str:
    """Where a backend is excluded that answered these inputs wrongly: all shapes, or such numbers."""
    unusual = any(size_of(tensor).unusual for tensor in inputs)
    return shapes_of(inputs) if unusual else ANY_SHAPES


def _sizes(tensor: WireTensor) -> str:
    few = len(tensor.shape) <= 1 and math.prod(tensor.shape) <= _FEW
    if not few or not tensor.dtype.startswith(("int", "uint")):
        return ""
    return "=" + ",".join(map(str, numbers(tensor).ravel().tolist()))
