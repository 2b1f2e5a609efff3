"""Whether a computation failed because of what the caller sent, of its file, or of the browser.

Words of a runtime do not tell: a browser's mistake and a wrong input read alike, and a file that one build
of onnxruntime-web takes for no model another one computes. What tells is another one:

1. Native onnxruntime refuses the file, or the same inputs of it, or dies of them: no browser could do it.
2. Where it cannot be asked (too large for this machine): another browser has said the very same before.
3. Two browsers and native onnxruntime came to no end with them.

Otherwise the work goes on elsewhere.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Final

from browsers.core.errors import Judged
from browsers.core.failures import Blame, Category

# Of a computation that the page itself reports, and that inputs or file may be the reason of.
_TOLD: Final = frozenset(
    (
        Category.INTERNAL,
        Category.UNSUPPORTED_OPERATION,
        Category.OUT_OF_MEMORY,
        Category.MODEL_INCOMPATIBLE,
        Category.INVALID_INPUT,
    )
)
# Browsers die of many things; that a second one does makes the inputs suspect.
_DEATHS_BY_CHANCE: Final = 1


class Native(enum.StrEnum):
    """What native onnxruntime does with the file and the inputs."""

    NO_MODEL = "no model"
    """it does not even load the file"""
    REFUSES = "refuses"
    TAKES = "takes"
    ENDLESS = "endless"
    """it was stopped, since it took too long"""
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Said:
    """A failed attempt: where, as what it counts, in which words."""

    browser: str
    category: Category
    message: str


def suspect(failed: Said, earlier: Sequence[Said]) -> bool:
    """Whether to ask, before anybody is blamed, if inputs were the reason."""
    if failed.category in _TOLD:
        return True
    if failed.category is Category.TIMEOUT:
        return _other_in_time(failed, earlier) is not None
    deaths = sum(_fatal(one.category) for one in (failed, *earlier))
    return _fatal(failed.category) and deaths > _DEATHS_BY_CHANCE


def judged(failed: Said, earlier: Sequence[Said], native: Native, reason: str) -> Judged:
    """What a failure counts as, with a sentence for the caller where no browser could have done it.

    `reason`: what native onnxruntime said, or died of.
    """
    if native is Native.NO_MODEL:
        return Judged(Category.MODEL_INCOMPATIBLE, reason, everywhere=True)
    if why := _inputs(failed, earlier, native, reason):
        return Judged(Category.INVALID_INPUT, why, everywhere=True)
    if other := _same(failed, earlier, native):
        why = f"as {other.browser} and {failed.browser} both say: {failed.message}"
        if failed.category is Category.MODEL_INCOMPATIBLE:
            return Judged(failed.category, f"the file is no model, {why}", everywhere=True)
        why = f"the model cannot compute these inputs, {why}"
        return Judged(Category.INVALID_INPUT, why, everywhere=True)
    return Judged.by_one(failed.category, failed.message)


def _inputs(failed: Said, earlier: Sequence[Said], native: Native, reason: str) -> str:
    """Why the inputs are to blame by what native onnxruntime did; empty: it does not tell."""
    if native is Native.REFUSES:
        return f"the model cannot compute these inputs: {reason}"
    other = _other_in_time(failed, earlier)
    if native is Native.ENDLESS and failed.category is Category.TIMEOUT and other is not None:
        return (
            f"the model comes to no end in time with these inputs: {other.browser} was stopped, "
            f"{failed.browser}, too, and onnxruntime itself: {reason}"
        )
    return ""


def _same(failed: Said, earlier: Sequence[Said], native: Native) -> Said | None:
    """Another browser's very same words, where native onnxruntime could not be asked."""
    if native not in (Native.UNKNOWN, Native.ENDLESS) or failed.category not in _TOLD:
        return None
    same = (one for one in earlier if one.category in _TOLD and one.message == failed.message)
    return next((one for one in same if one.browser != failed.browser), None)


def _other_in_time(failed: Said, earlier: Sequence[Said]) -> Said | None:
    """What another browser said that ran out of time before."""
    late = (one for one in earlier if one.category is Category.TIMEOUT)
    return next((one for one in late if one.browser != failed.browser), None)


def _fatal(category: Category) -> bool:
    return category.blame is Blame.CRASH or category is Category.CONNECTION
