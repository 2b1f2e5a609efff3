"""Errors as OpenAI writes them: message, type, param, code."""

from __future__ import annotations

from browsers.core.failures import Category
from inference.documents import JsonObject
from inference.errors import (
    Busy,
    InvalidRequest,
    TooLarge,
    Unauthorised,
    UnknownBrowser,
    UnknownModel,
    WebpoolError,
)

_CODES: tuple[tuple[type[WebpoolError], str], ...] = (
    (Unauthorised, "invalid_api_key"),
    (Busy, "rate_limit_exceeded"),
    (UnknownModel, "model_not_found"),
    (UnknownBrowser, "browser_not_found"),
    (TooLarge, "request_too_large"),
)


class Refused(InvalidRequest):
    """A request that cannot be served as it is asked; `param` is the field that is to blame."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str = "invalid_value"
    ) -> None:
        super().__init__(message)
        self.param, self.code = param, code


class NotServed(Refused):
    """An endpoint of OpenAI's that is not here."""

    status = 404

    def __init__(self, message: str) -> None:
        super().__init__(message, code="not_implemented")


class GenerationFailed(WebpoolError):
    """A generation ended without its text, or in the middle of it; `param` is a field that is to blame."""

    def __init__(self, message: str, category: Category, *, param: str | None = None) -> None:
        super().__init__(message)
        self.category, self.status, self.param = category, category.status, param


def error_document(error: WebpoolError, message: str) -> JsonObject:
    """The body of an answer, or of an event in the middle of a stream; `message` is the error's, sayable."""
    param = getattr(error, "param", None)
    for kind, field in ((UnknownModel, "model"), (UnknownBrowser, "browsers")):
        if isinstance(error, kind):
            param = field
    return {
        "error": {
            "message": message,
            "type": _type(error),
            "param": param,
            "code": getattr(error, "code", None) or _code(error),
        }
    }


def _type(error: WebpoolError) -> str:
    if isinstance(error, Busy) or error.status == 429:
        return "rate_limit_error"
    if error.category == Category.FORBIDDEN:
        return "permission_error"
    return "invalid_request_error" if error.status < 500 else "server_error"


def _code(error: WebpoolError) -> str:
    return next((code for kind, code in _CODES if isinstance(error, kind)), str(error.category))
