"""What can go wrong with a request, each with the field's category, an HTTP status and a clear message.

WebpoolError
├── InvalidRequest (400)     the caller sent something that cannot be right
│   ├── UnknownModel (404)
│   ├── UnknownBrowser (404)
│   └── TooLarge (413)
├── Unauthorised (401)
├── Busy (429)               the admission limit is reached; `retry_after_s` says when to come back
├── Unavailable (503)        broker, store, database or pool is not there
└── RunFailed (per category) the run ended without an answer
"""

from __future__ import annotations

from browsers.core.failures import Category


class WebpoolError(Exception):
    """A failure whose message says what was expected, what came and what to do.

    A class that names a category has its HTTP status, unless it says a more precise one.
    """

    category = Category.INTERNAL
    status = category.status

    def __init_subclass__(cls) -> None:
        if "category" in vars(cls) and "status" not in vars(cls):
            cls.status = cls.category.status


class InvalidRequest(WebpoolError):
    category = Category.INVALID_INPUT


class UnknownModel(InvalidRequest):
    status = 404


class UnknownBrowser(InvalidRequest):
    status = 404


class UnknownRun(InvalidRequest):
    status = 404


class TooLarge(InvalidRequest):
    status = 413


class TooSlow(InvalidRequest):
    status = 408


class NotJson(WebpoolError):
    """An output holds values that JSON cannot say."""

    category = Category.NOT_REPRESENTABLE


class Unauthorised(WebpoolError):
    category = Category.UNAUTHORISED


class Busy(WebpoolError):
    """The pool is full; nothing was stored."""

    category = Category.BUSY

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(WebpoolError):
    category = Category.UNAVAILABLE


class RunFailed(WebpoolError):
    """The run reached a terminal state without an answer."""

    def __init__(self, message: str, *, category: Category, run_id: str) -> None:
        super().__init__(message)
        self.category, self.status, self.run_id = category, category.status, run_id
