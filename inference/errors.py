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


class WebpoolError(Exception):
    """A failure whose message says what was expected, what came and what to do."""

    status = 500
    category = "internal"


class InvalidRequest(WebpoolError):
    status = 400
    category = "invalid_input"


class UnknownModel(InvalidRequest):
    status = 404


class UnknownBrowser(InvalidRequest):
    status = 404


class UnknownRun(InvalidRequest):
    status = 404


class TooLarge(InvalidRequest):
    status = 413


class Unauthorised(WebpoolError):
    status = 401
    category = "unauthorised"


class Busy(WebpoolError):
    """The pool is full; nothing was stored."""

    status = 429
    category = "busy"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(WebpoolError):
    status = 503
    category = "unavailable"


class RunFailed(WebpoolError):
    """The run reached a terminal state without an answer."""

    def __init__(self, message: str, *, category: str, run_id: str) -> None:
        super().__init__(message)
        self.category, self.run_id = category, run_id
        self.status = {"invalid_input": 400, "model_incompatible": 422, "timeout": 504}.get(
            category, 503 if category in ("connection", "browser_crash") else 500
        )
        if category in ("unsupported_operation", "browser_capability", "no_browser"):
            self.status = 422
        if category == "cancelled":
            self.status = 409
        if category == "expired":
            self.status = 410
