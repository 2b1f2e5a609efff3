"""Whether a computation failed because of what the caller sent, of its file, or of the browser.

Words of a runtime do not tell: a browser's mistake and a wrong input read alike, and a file that one build
of onnxruntime-web takes for no model another one computes. What tells is another one:

1. Native onnxruntime refuses the file, or the same inputs of it, or dies of them: no browser could do it.
2. Another browser has said the very same before: the inputs are wrong where native onnxruntime cannot be
   asked (too large for this machine), and more than a browser can do where it takes them.
3. Two browsers and native onnxruntime came to no end with them.

Otherwise the work goes on elsewhere. A refusal counts against the browser once another one has computed
the same (`worker.judging`): a few inputs that are more than any can do would keep all of them from work.
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
        Category.REFUSED,
    )
)
# Of these, what may be the inputs' fault or the browser's, and says which in no word.
_REFUSALS: Final = frozenset((Category.INTERNAL, Category.INVALID_INPUT))
_BEFORE_A_KERNELS: Final = "Status Message: "
_BEFORE_A_RUNS: Final = "ERROR_MESSAGE: "
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
    if other := _same(failed, earlier):
        why = f"as {other.browser} and {failed.browser} both say: {failed.message}"
        if told := _by_two(failed.category, native, why):
            return told
    category = Category.REFUSED if failed.category in _REFUSALS else failed.category
    return Judged(category, failed.message)


def _by_two(category: Category, native: Native, why: str) -> Judged | None:
    """What it is that two browsers refuse in the same words; None: a third one is asked."""
    if native is Native.TAKES:
        if category not in _REFUSALS:
            return None
        what = "onnxruntime itself takes these inputs, and no browser can compute them"
        return Judged(Category.REFUSED, f"{what}, {why}", everywhere=True)
    if category is Category.MODEL_INCOMPATIBLE:
        return Judged(category, f"the file is no model, {why}", everywhere=True)
    what = "the model cannot compute these inputs"
    return Judged(Category.INVALID_INPUT, f"{what}, {why}", everywhere=True)


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


def _same(failed: Said, earlier: Sequence[Said]) -> Said | None:
    """Another browser that was told the very same by its page."""
    if failed.category not in _TOLD:
        return None
    others = (one for one in earlier if one.category in _TOLD and one.browser != failed.browser)
    return next((one for one in others if _words(one) == _words(failed)), None)


def _words(said: Said) -> str:
    """Without what one bundle of onnxruntime-web puts before a kernel's own words, and another does not."""
    return said.message.rpartition(_BEFORE_A_KERNELS)[2].rpartition(_BEFORE_A_RUNS)[2].strip()


def _other_in_time(failed: Said, earlier: Sequence[Said]) -> Said | None:
    """What another browser said that ran out of time before."""
    late = (one for one in earlier if one.category is Category.TIMEOUT)
    return next((one for one in late if one.browser != failed.browser), None)


def _fatal(category: Category) -> bool:
    return category.blame is Blame.CRASH or category is Category.CONNECTION
