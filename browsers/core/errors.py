"""What can go wrong between a worker and its browser, and what each failure calls for.

BrowserError
 ├─ ConnectionLost         the page's socket closed; the page itself may live
 ├─ BrowserCrash           the page or the browser process is gone
 ├─ DeviceLost             the GPU device was lost; wasm in that page still works
 ├─ OutOfMemory            the model or a buffer did not fit in this browser
 ├─ DeadlinePassed         no answer in time
 ├─ UnsupportedOperation   the backend lacks an operator or a type that the model needs
 ├─ BrowserCapability      the browser lacks the backend that was asked for
 ├─ ModelIncompatible      the file is no model that onnxruntime can read
 ├─ InvalidInput           the inputs do not fit the model
 └─ InternalError          anything else

The fields carry the decision, so that whoever catches an error never reads its message: `retryable`
says that the same work may succeed later or elsewhere, `elsewhere` that it needs another browser
(this one is broken, full or incapable), `first_rung` where the repair of this browser starts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final


class Category(StrEnum):
    """The kinds of failure, as the page, the database and the metrics spell them."""

    CONNECTION = "connection"
    BROWSER_CRASH = "browser_crash"
    DEVICE_LOST = "device_lost"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    UNSUPPORTED_OPERATION = "unsupported_operation"
    BROWSER_CAPABILITY = "browser_capability"
    MODEL_INCOMPATIBLE = "model_incompatible"
    INVALID_INPUT = "invalid_input"
    INTERNAL = "internal"


# After these the browser is not trusted until a repair has passed the known-answer probe.
UNHEALTHY: Final = frozenset(
    {Category.BROWSER_CRASH, Category.CONNECTION, Category.DEVICE_LOST, Category.TIMEOUT}
)


class Rung(StrEnum):
    """The repairs of one browser, cheapest first."""

    PING = "ping"
    RESTART_ENGINE = "restart_engine"
    RECONNECT = "reconnect"
    REFRESH = "refresh"
    RESTART = "restart"
    HAND_OVER = "hand_over"
    QUARANTINE = "quarantine"


class BrowserError(Exception):
    """A failure in a browser; `category` decides, the message explains."""

    category: ClassVar[Category] = Category.INTERNAL
    retryable: bool = True
    elsewhere: bool = True
    first_rung: Rung | None = None

    def __init__(self, message: str, *, first_rung: Rung | None = None) -> None:
        super().__init__(message)
        self.message = message
        if first_rung is not None:
            self.first_rung = first_rung

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.category}: {self.message}>"


class ConnectionLost(BrowserError):
    category = Category.CONNECTION
    elsewhere = False
    first_rung = Rung.PING


class BrowserCrash(BrowserError):
    category = Category.BROWSER_CRASH
    first_rung = Rung.RESTART


class DeviceLost(BrowserError):
    category = Category.DEVICE_LOST
    first_rung = Rung.RESTART_ENGINE


class OutOfMemory(BrowserError):
    category = Category.OUT_OF_MEMORY
    first_rung = Rung.REFRESH


class DeadlinePassed(BrowserError):
    category = Category.TIMEOUT
    first_rung = Rung.RESTART_ENGINE


class UnsupportedOperation(BrowserError):
    category = Category.UNSUPPORTED_OPERATION


class BrowserCapability(BrowserError):
    category = Category.BROWSER_CAPABILITY


class ModelIncompatible(BrowserError):
    category = Category.MODEL_INCOMPATIBLE
    retryable = False
    elsewhere = False


class InvalidInput(BrowserError):
    category = Category.INVALID_INPUT
    retryable = False
    elsewhere = False


class InternalError(BrowserError):
    category = Category.INTERNAL
    first_rung = Rung.RESTART_ENGINE


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
        InternalError,
    )
}


def from_page(code: str, message: str) -> BrowserError:
    """The error that the page reported as `{code, message}`; an unknown code is internal."""
    try:
        category = Category(code)
    except ValueError:
        return InternalError(f"{code}: {message}")
    return BY_CATEGORY[category](message)
