"""What went wrong, as the pool says it.

PoolError          any of them
├── Unreachable    no answer: nobody listens there, or the connection broke
├── Unauthorised   401, 403: no valid key, or one that may not do this
├── NotFound       404: no such model, run, comparison
└── Busy           429: `retry_after_s` says when it is worth another try
"""

from __future__ import annotations


class PoolError(Exception):
    """The pool refused a request, or failed at it.

    Attributes:
        status: of HTTP; None: there was no answer.
        category: one of docs/recovery.md's, such as `invalid_input`, `timeout`, `no_browser`; "" where the
            answer was not the pool's own.
        run: id of the run that failed; None: there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        category: str = "",
        run: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.category, self.run = status, category, run


class Unreachable(PoolError):
    """Nobody answered."""


class Unauthorised(PoolError):
    """No valid key, or one that may not do this."""


class NotFound(PoolError):
    """There is no such thing."""


class Busy(PoolError):
    """The pool is full, or the key's requests of this minute are used up."""

    def __init__(self, message: str, *, retry_after_s: float, category: str = "") -> None:
        super().__init__(message, status=429, category=category)
        self.retry_after_s = retry_after_s
