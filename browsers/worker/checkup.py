"""What a browser is asked while nobody waits for an answer: does it still compute right (SPEC R6)?"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable

from browsers.core.errors import BrowserError, InternalError
from browsers.core.failures import Rung
from browsers.core.known import Check, Checks, KnownAnswer
from browsers.session import BrowserSession

log = logging.getLogger(__name__)
ANSWERS_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with the browser, and with which file of it, if any."""

    error: BrowserError
    sha256: str = ""


class Checkup:
    """Asks in the main thread, a file at a time; `known` gives the known answer of a file, if it has one."""

    def __init__(
        self,
        browser_id: str,
        session: BrowserSession,
        checks: Checks,
        known: Callable[[str], KnownAnswer | None],
    ) -> None:
        self._id, self._session, self._checks, self._known = browser_id, session, checks, known

    def probe(self) -> Finding | None:
        """Have the page compute the probe's model; None: it is well."""
        try:
            self._session.probe(ANSWERS_WITHIN_S)
        except BrowserError as error:
            return Finding(error)
        return None

    def look(self) -> Finding | None:
        """Have the browser answer its driver, and one loaded file its known answer; None: it is well.

        What WebNN compiled for the sizes of a run would be loaded once more for this: it is not asked.
        """
        try:
            self._session.ask_browser()
        except BrowserError as error:
            return Finding(error)
        held = {model.sha256: model for model in self._session.loaded()}
        if (file := self._checks.next(held)) is None:
            return None
        known = None if held[file].sized else self._known(file)
        if known is None:
            self._checks.note(file, Check(known=False))
            return None
        return self._ask(file, held[file].backend, known)

    def _ask(self, file: str, backend: str, known: KnownAnswer) -> Finding | None:
        try:
            report = self._session.run(
                model_sha256=file,
                inputs=known.inputs,
                backend=backend,
                deadline_s=ANSWERS_WITHIN_S,
                as_use=False,
            )
        except BrowserError as error:
            if error.category.distrusted:
                return Finding(error, file)
            log.warning("%s: %s… was not asked: %s", self._id, file[:12], error)
            self._checks.note(file, Check(known=False))
            return None  # it says nothing against the browser
        if known.confirms(report.outputs):
            self._checks.note(file, Check(known=True, confirmed_at=time.time()))
            return None
        # A new engine would take the file from the page's cache: all of it is fetched anew.
        wrong = f"{self._id} answered {file[:12]}… wrongly"
        return Finding(InternalError(wrong, first_rung=Rung.RESTART), file)
