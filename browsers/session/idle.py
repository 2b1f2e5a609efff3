"""What a browser does while nobody waits: lost models come back, backends are tried, answers checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from browsers.core.answers.known import KnownAnswer
from browsers.core.errors import BrowserError
from browsers.core.protocol import WireTensor
from browsers.reports import LoadedModel
from browsers.session.backends import Backends
from browsers.session.deadline import Deadline
from browsers.session.proving import Proving
from browsers.session.residents import ModelKey, Residents

log = logging.getLogger(__name__)


class IdleWork:
    """Used by the thread that uses the session; `due` by any."""

    def __init__(
        self, browser_id: str, backends: Backends, residents: Residents, proving: Proving | None
    ) -> None:
        self._id, self._backends, self._residents = browser_id, backends, residents
        self._proving = proving

    @property
    def due(self) -> bool:
        """Whether a lost model waits to come back, or a backend to be asked again or tried."""
        return (
            self._residents.lost
            or self._backends.late_is_due
            or (self._proving is not None and self._proving.due)
        )

    def do_next(self, deadline_s: float) -> None:
        """Load one model that went with its engine or page, or ask or try one backend.

        Raises:
            BrowserError: the browser is in doubt after it.
        """
        deadline = Deadline(deadline_s)
        try:
            if self._residents.lost:
                self._residents.reload_next(deadline)
            elif self._backends.late_is_due:
                self._backends.ask_late(deadline)
            elif self._proving is not None:
                self._proving.try_next(deadline)
        except BrowserError as error:
            if error.category.distrusted:
                raise
            log.info("%s: %s", self._id, error)

    def exclude(self, model: LoadedModel, why: str) -> None:
        """Have a backend compute a loaded model no more: it answered wrongly."""
        if self._proving is not None:
            self._proving.exclude(model.sha256, model.backend, why)

    def ask(
        self, model: LoadedModel, answer: KnownAnswer, deadline_s: float
    ) -> Sequence[WireTensor]:
        """What a loaded model answers to known inputs, where it is; it does not count as used by this."""
        key = ModelKey.of(model.sha256, model.backend, answer.dims)
        deadline = Deadline(deadline_s)
        self._backends.require(model.backend, deadline)
        return self._residents.run(key, answer.inputs, None, False, deadline, as_use=False).outputs
