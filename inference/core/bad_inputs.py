"""Whether a computation failed because of what the caller sent, or because of the browser.

Words of a runtime do not tell: a browser's mistake and a wrong input read alike. What tells is another one:

1. Native onnxruntime refuses the same inputs of the same file, or dies of them: no browser could do it.
2. Where it cannot be asked (too large for this machine): another browser has said the very same before.
3. Two browsers and native onnxruntime came to no end with them.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Final

from browsers.core.failures import Blame, Category

# Of a computation that the page itself reports, and that inputs may be the reason of.
_TOLD: Final = frozenset(
    (Category.INTERNAL, Category.UNSUPPORTED_OPERATION, Category.OUT_OF_MEMORY)
)
# Browsers die of many things; that a second one does makes the inputs suspect.
_DEATHS_BY_CHANCE: Final = 1


class Native(enum.StrEnum):
    """What native onnxruntime does with the inputs."""

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


def callers(failed: Said, earlier: Sequence[Said], native: Native, reason: str) -> str:
    """Why the inputs are to blame, in a sentence for the caller; empty: the browser is.

    `reason`: what native onnxruntime said, or died of.
    """
    if native is Native.REFUSES:
        return f"the model cannot compute these inputs: {reason}"
    other = _other_in_time(failed, earlier)
    if native is Native.ENDLESS and failed.category is Category.TIMEOUT and other is not None:
        return (
            f"the model comes to no end in time with these inputs: {other.browser} was stopped, "
            f"{failed.browser}, too, and onnxruntime itself: {reason}"
        )
    if native in (Native.UNKNOWN, Native.ENDLESS) and failed.category in _TOLD:
        for one in earlier:
            same = (one.category, one.message) == (failed.category, failed.message)
            if same and one.browser != failed.browser:
                return (
                    f"the model cannot compute these inputs, as {one.browser} and {failed.browser} both say: "
                    f"{failed.message}"
                )
    return ""


def _other_in_time(failed: Said, earlier: Sequence[Said]) -> Said | None:
    """What another browser said that ran out of time before."""
    late = (one for one in earlier if one.category is Category.TIMEOUT)
    return next((one for one in late if one.browser != failed.browser), None)


def _fatal(category: Category) -> bool:
    return category.blame is Blame.CRASH or category is Category.CONNECTION
