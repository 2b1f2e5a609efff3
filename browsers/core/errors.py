"""What can go wrong between a worker and its browser, as exceptions; `failures` says what each calls for.

BrowserError
 ├─ ConnectionLost         the page's socket closed; the page itself may live
 ├─ BrowserCrash           the page or the browser process is gone
 ├─ DeviceLost             the GPU device was lost; wasm in that page still works
 ├─ OutOfMemory            the model or a buffer did not fit in this browser
 ├─ DeadlinePassed         no answer in time
 ├─ UnsupportedOperation   the backend lacks an operator or a type that the model needs
 ├─ BrowserCapability      the browser lacks the backend that was asked for
 ├─ ModelIncompatible      the runtime there takes the file for no model that it can read
 ├─ InvalidInput           the inputs do not fit the model
 ├─ OutputsTooLarge        what came out is more than a page may hand over
 └─ InternalError          anything else
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from browsers.core.failures import Category, Rung


@dataclass(frozen=True)
class Judged:
    """What a failure counts as for its work, in which words; `everywhere`: no browser could have done it."""

    category: Category
    message: str
    everywhere: bool = False

    @classmethod
    def by_one(cls, category: Category, message: str) -> Judged:
        """By one browser's word alone, which makes of a wrong input something that it does not support."""
        alone = category is Category.INVALID_INPUT
        return cls(Category.UNSUPPORTED_OPERATION if alone else category, message)


class BrowserError(Exception):
    """A failure in a browser; its category decides, the message explains.

    `first_rung`: where this one's repair starts, when that is not where its category's does.
    `judged`: what it counts as for its work; the category says what this browser needs.
    """

    category: ClassVar[Category] = Category.INTERNAL

    def __init__(self, message: str, *, first_rung: Rung | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.first_rung = first_rung or self.category.rung
        self.judged = Judged.by_one(self.category, message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.category}: {self.message}>"


class ConnectionLost(BrowserError):
    category = Category.CONNECTION


class BrowserCrash(BrowserError):
    category = Category.BROWSER_CRASH


class DeviceLost(BrowserError):
    category = Category.DEVICE_LOST


class OutOfMemory(BrowserError):
    category = Category.OUT_OF_MEMORY


class DeadlinePassed(BrowserError):
    category = Category.TIMEOUT


class UnsupportedOperation(BrowserError):
    category = Category.UNSUPPORTED_OPERATION


class BrowserCapability(BrowserError):
    category = Category.BROWSER_CAPABILITY


class ModelIncompatible(BrowserError):
    category = Category.MODEL_INCOMPATIBLE


class InvalidInput(BrowserError):
    category = Category.INVALID_INPUT


class OutputsTooLarge(BrowserError):
    category = Category.TOO_LARGE


class InternalError(BrowserError):
    category = Category.INTERNAL


BY_CATEGORY: dict[Category, type[BrowserError]] = {
    kind.category: kind
    for kind in (
        ConnectionLost,
        BrowserCrash,
        DeviceLost,
        OutOfMemory,
        DeadlinePassed,
        UnsupportedOperation,
        BrowserCapability,
        ModelIncompatible,
        InvalidInput,
        OutputsTooLarge,
        InternalError,
    )
}


def from_page(code: str, message: str) -> BrowserError:
    """The error that the page reported as `{code, message}`; a code of no browser's failure is internal."""
    for category, kind in BY_CATEGORY.items():
        if category == code:
            return kind(message)
    return InternalError(f"{code}: {message}")


class NotLoaded(Exception):
    """The engine has no session for this run: load the model and ask again."""


class StepRefused(Exception):
    """The engine's cache is not where a step of a session would begin; `code` says why.

    `no_cache`: it has none. `stale_epoch`: the stage was given to somebody else. `gap`: it is elsewhere.
    """

    CODES: Final = ("no_cache", "stale_epoch", "gap")

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Refusal = NotLoaded | StepRefused | BrowserError


def reported(error: Mapping[str, str]) -> Refusal:
    """An error that the page answered with."""
    code, message = error["code"], error["message"]
    if code == "not_loaded":
        return NotLoaded(message)
    if code in StepRefused.CODES:
        return StepRefused(code, message)
    return from_page(code, message)
