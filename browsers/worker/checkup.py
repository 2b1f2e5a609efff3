"""What a browser is asked while nobody waits for an answer: does it still compute right?"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from browsers import clock
from browsers.core.answers.known import Check, Checks, Known, KnownAnswer
from browsers.core.errors import BrowserError, InternalError
from browsers.core.failures import Rung
from browsers.session import BrowserSession, LoadedModel

log = logging.getLogger(__name__)
ANSWERS_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with the browser, and with which file of it, if any."""

    error: BrowserError
    sha256: str = ""


class Checkup:
    """Asks in the main thread, a file at a time; `known` says what is known of a file."""

    def __init__(
        self,
        browser_id: str,
        session: BrowserSession,
        checks: Checks,
        known: Callable[[str], Known],
    ) -> None:
        self._id, self._session, self._checks, self._known = browser_id, session, checks, known
        self._turn = 0

    def probe(self) -> Finding | None:
        """Have the page compute the probe's model; None: it is well."""
        try:
            self._session.probe(ANSWERS_WITHIN_S)
        except BrowserError as error:
            return Finding(error)
        return None

    def do_next(self) -> Finding | None:
        """Load a model that was lost, or try a backend with the file that waits for it; None: it is well."""
        try:
            self._session.idle.do_next(ANSWERS_WITHIN_S)
        except BrowserError as error:
            return Finding(error)
        return None

    def check(self) -> Finding | None:
        """Have the browser answer its driver, and one loaded file a known answer; None: it is well.

        What WebNN compiled for the sizes of a run would be loaded once more for this: it is not asked.
        """
        try:
            self._session.ask_browser()
        except BrowserError as error:
            return Finding(error)
        held = {model.sha256: model for model in self._session.loaded()}
        if (file := self._checks.next(held)) is None:
            return None
        known = self._known(file)
        if held[file].sized or not known.answers:
            self._checks.note(file, Check(known=False))
            return None
        self._turn += 1
        return self._ask(held[file], known, known.answers[self._turn % len(known.answers)])

    def _ask(self, file: LoadedModel, known: Known, answer: KnownAnswer) -> Finding | None:
        try:
            got = self._session.idle.ask(file, answer, ANSWERS_WITHIN_S)
        except BrowserError as error:
            if error.category.distrusted:
                return Finding(error, file.sha256)
            log.warning("%s: %s… was not asked: %s", self._id, file.sha256[:12], error)
            self._checks.note(file.sha256, Check(known=False))
            return None  # it says nothing against the browser
        if not (why := known.wrong(answer, got)):
            self._checks.note(file.sha256, Check(known=True, confirmed_at=clock.unix()))
            return None
        if (
            file.backend != "wasm"
        ):  # proved at other shapes: it is the backend's fault, not the page's
            self._session.idle.exclude(file, f"a known answer: {why}")
            return None
        # It was right before. A new engine would take the file from the page's cache: all is fetched anew.
        wrong = f"{self._id} answered {file.sha256[:12]}… wrongly: {why}"
        return Finding(InternalError(wrong, first_rung=Rung.RESTART), file.sha256)
