"""What a browser's worker does for sessions that write text, beside its tasks."""

from __future__ import annotations

from django.conf import settings

from browsers.core.answers.proofs import Excluded
from browsers.core.errors import BrowserError
from browsers.models import BrowserState
from browsers.session import BrowserSession, SessionEvent
from browsers.state import breakers
from browsers.worker.ladder import Bounded
from browsers.worker.status import Status
from browsers.worker.watch import Watch

_BEYOND_DEADLINE_S = 45.0  # to replace an engine and to explain a failure


class Holding:
    """`hold` is called by the main thread, `step_failed` by the thread that asked for the step."""

    def __init__(
        self,
        browser_id: str,
        session: BrowserSession,
        status: Status,
        watch: Watch,
        bounded: Bounded,
    ) -> None:
        self._id, self._session, self._status = browser_id, session, status
        self._watch, self._bounded = watch, bounded

    def hold(self, holder: str, sha256: str, *, backend: str, cache_mb: float) -> str:
        """Load a model for a session, prove it, and keep it; returns why it is not proved, or nothing.

        Raises:
            BrowserError: noted by the breakers; when the browser itself is in doubt, nothing more is placed
            on it when this returns.
        """
        deadline_s = settings.WEBPOOL_ATTEMPT_TIMEOUT_S
        try:
            with self._bounded(deadline_s + _BEYOND_DEADLINE_S):
                return self._session.decoding.hold(
                    holder, sha256, backend=backend, cache_mb=cache_mb, deadline_s=deadline_s
                )
        except Excluded:
            raise  # the backend's fault, which others may not have
        except BrowserError as error:
            if error.category.distrusted:
                self._status.save(BrowserState.RECOVERING, str(error))
                self._status.publish()
            self._note(sha256, error)
            raise

    def step_failed(self, sha256: str, error: BrowserError) -> None:
        """A step of a session failed: what it needs is repaired by the main thread."""
        if error.category.distrusted:
            said = SessionEvent("step_failed", error.category, str(error), error.first_rung)
            self._watch.heard(said)
        else:
            self._note(sha256, error)

    def _note(self, sha256: str, error: BrowserError) -> None:
        self._status.breakers = breakers.failed(self._id, error.judged.category, sha256=sha256)
