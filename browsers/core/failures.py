"""Every kind of failure that a caller, a row or a metric can show, each with what follows from it.

The database, the page, REST, `/v2`, history and telemetry spell a failure as its category here. What is
decided about one is read from its fields, nowhere from its name or its message:

    retry       what becomes of the work
    blame       what it counts against
    status      the HTTP status of an answer that says nothing more precise
    rung        where the repair of the browser starts; None: it needs none
    distrusted  the browser is not used before a repair has passed the known-answer probe
"""

from __future__ import annotations

from enum import StrEnum


class Rung(StrEnum):
    """The repairs of one browser, cheapest first."""

    PING = "ping"
    RESTART_ENGINE = "restart_engine"
    RECONNECT = "reconnect"
    REFRESH = "refresh"
    RESTART = "restart"
    HAND_OVER = "hand_over"
    QUARANTINE = "quarantine"


class Retry(StrEnum):
    """Where work that failed is tried again, as long as it has attempts left."""

    HERE = "here"  # it may pass: once more in the same browser, then elsewhere
    ELSEWHERE = (
        "elsewhere"  # another browser is preferred; this one may serve again once it is repaired
    )
    NEVER_HERE = "never_here"  # this browser cannot do it, however often it is asked; another may
    NEVER = "never"  # it is the same everywhere, or nobody wants it any more


class Blame(StrEnum):
    """What a failure counts against, in circuit breakers."""

    CRASH = "crash"  # the browser, whose breaker opens at once, and the model in it
    BROWSER = "browser"  # the browser, and the model in it
    MODEL = "model"  # the model in that browser: the browser itself is well
    NOBODY = "nobody"


class Category(StrEnum):
    """What went wrong."""

    retry: Retry
    blame: Blame
    status: int
    rung: Rung | None
    distrusted: bool

    def __new__(
        cls,
        value: str,
        retry: Retry,
        blame: Blame,
        status: int,
        rung: Rung | None = None,
        distrusted: bool = False,
    ) -> Category:
        member = str.__new__(cls, value)
        member._value_ = value
        member.retry, member.blame, member.status = retry, blame, status
        member.rung, member.distrusted = rung, distrusted
        return member

    @classmethod
    def of(cls, spelt: str) -> Category:
        """The category that a row or a message spells so.

        Raises:
            ValueError: there is none.
        """
        for category in cls:
            if category == spelt:
                return category
        raise ValueError(f"expected one of {', '.join(cls)}; got {spelt!r:.100}")

    # --- in a browser ---
    # The page's socket closed; the page itself may live.
    CONNECTION = "connection", Retry.HERE, Blame.BROWSER, 503, Rung.PING, True
    # The page or the browser's process is gone.
    BROWSER_CRASH = "browser_crash", Retry.ELSEWHERE, Blame.CRASH, 503, Rung.RESTART, True
    # The GPU device was lost; wasm in that page still works.
    DEVICE_LOST = "device_lost", Retry.ELSEWHERE, Blame.BROWSER, 500, Rung.RESTART_ENGINE, True
    # The model or a buffer did not fit in this browser.
    OUT_OF_MEMORY = "out_of_memory", Retry.NEVER_HERE, Blame.MODEL, 500, Rung.REFRESH
    # No answer in time.
    TIMEOUT = "timeout", Retry.ELSEWHERE, Blame.BROWSER, 504, Rung.RESTART_ENGINE, True
    # The backend lacks an operator or a type that the model needs.
    UNSUPPORTED_OPERATION = "unsupported_operation", Retry.NEVER_HERE, Blame.MODEL, 422
    # The browser lacks the backend that was asked for.
    BROWSER_CAPABILITY = "browser_capability", Retry.NEVER_HERE, Blame.MODEL, 422
    # The runtime there takes the file for no model that it can read; another may compute it.
    MODEL_INCOMPATIBLE = "model_incompatible", Retry.NEVER_HERE, Blame.NOBODY, 422
    # The runtime there refused the inputs, which native onnxruntime did not. Whose fault that is is not known
    # before another browser has computed them: then it counts against the one that refused. Of a text: no
    # token can be drawn of the logits that came out.
    REFUSED = "refused", Retry.HERE, Blame.NOBODY, 422
    # What the caller sent cannot be right.
    INVALID_INPUT = "invalid_input", Retry.NEVER, Blame.NOBODY, 400
    # What came out is more than a page may hand over.
    TOO_LARGE = "too_large", Retry.NEVER, Blame.NOBODY, 422
    # Anything else.
    INTERNAL = "internal", Retry.HERE, Blame.BROWSER, 500, Rung.RESTART_ENGINE

    # --- in a browser's incidents alone: no work has failed, and nobody is answered with them ---
    # It answered otherwise than browsers that agree, or than a sound one.
    WRONG_ANSWER = "wrong_answer", Retry.ELSEWHERE, Blame.BROWSER, 500
    # It was above its memory limit, or the machine was short, and it made room between two tasks.
    MEMORY_PRESSURE = "memory_pressure", Retry.ELSEWHERE, Blame.NOBODY, 500
    # It does a model worse than before: no longer right, or slower.
    REGRESSION = "regression", Retry.ELSEWHERE, Blame.NOBODY, 500
    # A person asked for the repair.
    OPERATOR = "operator", Retry.ELSEWHERE, Blame.NOBODY, 500, Rung.PING

    # --- of a run ---
    # No browser may or can take one of its shards.
    NO_BROWSER = "no_browser", Retry.NEVER, Blame.NOBODY, 422
    # The store has lost what a shard would read.
    TENSOR_LOST = "tensor_lost", Retry.NEVER, Blame.NOBODY, 500
    # Its outputs are no longer kept.
    EXPIRED = "expired", Retry.NEVER, Blame.NOBODY, 410
    # Its caller wants it no more.
    CANCELLED = "cancelled", Retry.NEVER, Blame.NOBODY, 409

    # --- of a request ---
    # The form that was asked for cannot say what came out.
    NOT_REPRESENTABLE = "not_representable", Retry.NEVER, Blame.NOBODY, 422
    # What is there stands against it.
    CONFLICT = "conflict", Retry.NEVER, Blame.NOBODY, 409
    # No valid key or login.
    UNAUTHORISED = "unauthorised", Retry.NEVER, Blame.NOBODY, 401
    # A valid one that may not do this.
    FORBIDDEN = "forbidden", Retry.NEVER, Blame.NOBODY, 403
    # As many runs are active as may be, or a key has used up its requests.
    BUSY = "busy", Retry.NEVER, Blame.NOBODY, 429
    # Broker, store, database or pool is not there.
    UNAVAILABLE = "unavailable", Retry.NEVER, Blame.NOBODY, 503
