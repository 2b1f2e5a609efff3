"""Which backends of a browser answer the known-answer model right, how fast, and which may be used."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from browsers import probe
from browsers.core.adapters import adapter_name, is_software
from browsers.core.answers.proofs import Unproved
from browsers.core.errors import (
    BrowserCapability,
    BrowserCrash,
    BrowserError,
    InvalidInput,
    ModelIncompatible,
    OutOfMemory,
    UnsupportedOperation,
)
from browsers.core.failures import Category, Retry, Rung
from browsers.core.protocol import WireTensor
from browsers.drivers import LaunchedBrowser
from browsers.reports import BackendFacts, BrowserFacts
from browsers.session.deadline import Deadline
from browsers.session.late import LateAnswers
from browsers.session.page import Page
from browsers.session.residents import ModelKey, Residents
from browsers.session.trials import TrialEngine

BACKENDS: Final = ("wasm", "webgpu", "webnn")
_BROWSER_BROKEN: Final = frozenset({Category.CONNECTION, Category.BROWSER_CRASH})
_NEEDS_REPAIR: Final = _BROWSER_BROKEN | {Category.DEVICE_LOST, Category.TIMEOUT}
_Report = TypeVar("_Report")
_Run = Callable[[], tuple[Sequence[WireTensor], float]]
"""The known-answer model, computed once: what it gave, and how many ms it took."""
_NoteLate = Callable[[str, float], float | None]
"""Takes a backend that was late and the moment; returns after how many s it is asked again, None: no more."""


class Backends:
    """What is known of one browser and its backends. Used by one thread; `facts` by any."""

    def __init__(
        self, browser_id: str, page: Page, residents: Residents, allowed: Collection[str]
    ) -> None:
        self.timed = False
        """Whether a browser of this version was timed."""
        self._id = browser_id
        self._allowed = allowed
        self._page = page
        self._residents = residents
        self._trial = TrialEngine(page, residents)
        self._late = LateAnswers()
        self._probe_sha256 = probe.sha256()
        self._facts: BrowserFacts | None = None
        self._answered: dict[str, tuple[str, int]] = {}
        """The engine that each backend last answered the known-answer model in."""

    # --- what it knows ---

    @property
    def facts(self) -> BrowserFacts | None:
        """What the browser is; a backend whose engine was replaced since it answered is unasked."""
        facts = self._facts
        if facts is None:
            return None
        backends = (self._now(each) for each in facts.backends)
        return replace(facts, backends=tuple(sorted(backends, key=_preference)))

    def _now(self, backend: BackendFacts) -> BackendFacts:
        asked = self._answered.get(backend.name) == self._page.engine
        return replace(backend, probe_ok=None) if backend.probe_ok and not asked else backend

    @property
    def build(self) -> tuple[str | None, ...]:
        """What answers may depend on: version, onnxruntime-web and adapters."""
        facts = self._facts
        if facts is None:
            return ()
        return (facts.version, facts.runtime, *(each.adapter for each in facts.backends))

    def known(self) -> BrowserFacts:
        facts = self.facts
        if facts is None:
            raise self._not_started()
        return facts

    @property
    def version(self) -> str:
        """The browser's."""
        if self._facts is None:
            raise self._not_started()
        return self._facts.version

    def _not_started(self) -> BrowserCrash:
        return BrowserCrash(f"{self._id} has not started", first_rung=Rung.RESTART)

    def named(self, name: str) -> BackendFacts:
        if self._facts is None:
            raise self._not_started()
        for backend in self._facts.backends:
            if backend.name == name:
                return self._now(backend)
        raise InvalidInput(f"expected a backend of {', '.join(BACKENDS)}, got {name!r}")

    def describe(
        self, browser: LaunchedBrowser, greeting: Mapping[str, Any], engine: Mapping[str, Any]
    ) -> None:
        """Take over what a new browser, its page and its engine say of themselves."""
        former = self._facts.version if self._facts else ""
        self.timed = self.timed and former == browser.version
        self._late = LateAnswers()
        installation = browser.installation
        self._facts = BrowserFacts(
            family=installation.family,
            kind=installation.kind,
            version=browser.version,
            driver_version=installation.driver_version,
            user_agent=greeting["user_agent"],
            host=socket.gethostname(),
            cores=greeting["cores"],
            threads=engine["threads"],
            runtime=f"onnxruntime-web {engine['onnxruntime']}",
            backends=tuple(self._described(each, engine) for each in engine["backends"]),
        )

    def _described(self, fields: Mapping[str, Any], engine: Mapping[str, Any]) -> BackendFacts:
        """A backend as the page describes it, with what was measured of it before."""
        former = {each.name: each for each in self._facts.backends} if self._facts else {}
        allowed = fields["name"] in self._allowed
        available = fields["available"] and allowed
        measured = former.get(fields["name"]) if available else None
        reason = fields["reason"] if allowed else "left out by WEBPOOL_BACKENDS"
        return BackendFacts(
            name=fields["name"],
            available=available,
            adapter=adapter_name(fields["adapter"]),
            software=is_software(fields["adapter"]) if fields["name"] == "webgpu" else None,
            features=tuple(fields["features"]),
            bundle=engine["bundle"],
            probe_ms=measured.probe_ms if measured else None,
            probe_ok=None,
            error=measured.error if measured else reason,
        )

    # --- choosing ---

    def on_first_able(
        self,
        backend: str | None,
        deadline: Deadline,
        attempt: Callable[[str, Mapping[str, BrowserError], bool], _Report],
        *,
        prefer: str = "",
    ) -> _Report:
        """`attempt(name, refused, named)` on the backend asked for, or on the best one that can do it.

        `refused` holds why better ones could not: their error when they lack an operator, a capability,
        memory or a proof, or take the file for no model. What only lacks a proof is tried as if it had been
        named when no other can do it. `prefer`: the one to begin with where none was asked for.
        """
        refused: dict[str, BrowserError] = {}
        asked = [(name, backend is not None) for name in self.candidates(backend, prefer=prefer)]
        for name, named in asked:
            try:
                self.require(name, deadline)
                return attempt(name, refused, named)
            except BrowserError as error:
                if backend is not None or error.category.retry is not Retry.NEVER_HERE:
                    raise
                if isinstance(error, Unproved) and not named:
                    asked.append((name, True))
                refused[name] = error
        raise _nothing_left(refused)

    def candidates(self, backend: str | None, *, prefer: str = "") -> tuple[str, ...]:
        """The backends to try: the one asked for, or all that are offered, best first."""
        if backend is not None:
            return (backend,)
        offered = (each.name for each in self.known().backends if each.offered)
        return tuple(sorted(offered, key=lambda name: name != prefer))

    def require(self, name: str, deadline: Deadline) -> None:
        """The backend has answered right in this engine; asks it if that is open."""
        facts = self.named(name)
        if facts.probe_ok is None:
            facts = self._check(name, deadline, raises=_NEEDS_REPAIR)
        if not facts.probe_ok:
            raise BrowserCapability(f"{self._id} has no working {name}: {facts.error}")

    # --- the known-answer model ---

    def probe(self, deadline: Deadline) -> BrowserFacts:
        """Check every backend with the known-answer model; see BrowserSession.probe."""
        self._answered.clear()
        backends = self.known().backends
        put_off = [b.name for b in backends if self.timed and b.software and b.probe_ms is not None]
        self._check_all([b.name for b in backends if b.name not in put_off], deadline)
        if not self.known().healthy:
            self._check_all(put_off, deadline)
        facts = self.known()
        if not facts.healthy:
            problems = "; ".join(f"{each.name}: {each.error}" for each in facts.backends)
            raise BrowserCapability(f"{self._id}: no backend answered right ({problems})")
        self.timed = True
        return facts

    def _check_all(self, names: Sequence[str], deadline: Deadline) -> None:
        """Ask these backends, none of them for so long that nothing is left for the others.

        One that takes the engine down makes those that answered before it answer once more.
        """
        right = [name for name in names if self._check(name, deadline.half()).probe_ok]
        for name in right:
            if self.named(name).probe_ok is None:
                self._check(name, deadline.half())

    def _check(
        self, name: str, deadline: Deadline, *, raises: frozenset[Category] = _BROWSER_BROKEN
    ) -> BackendFacts:
        """Ask a backend the known-answer model and note what came of it."""
        backend = self.named(name)
        if not backend.available:
            return backend
        key = ModelKey.of(self._probe_sha256, name)

        def run() -> tuple[Sequence[WireTensor], float]:
            computed = self._residents.run(key, probe.inputs(), None, False, deadline)
            return computed.outputs, computed.compute_ms

        checked = self._probed(backend, run, raises, self._late.note)
        self._answered[name] = self._page.engine
        self._note(checked)
        return checked

    def _note(self, checked: BackendFacts) -> None:
        facts = self.known()
        backends = tuple(checked if each.name == checked.name else each for each in facts.backends)
        self._facts = replace(facts, backends=backends)

    def _probed(
        self, backend: BackendFacts, run: _Run, raises: frozenset[Category], note_late: _NoteLate
    ) -> BackendFacts:
        """The backend after the known-answer model: right or wrong, and how fast if that is open.

        The first run also warms the backend up and is not counted. Errors of the categories in
        `raises` say nothing of the backend and are raised. One that is late stays unasked.
        """
        timed = not self.timed or backend.probe_ms is None
        probe_ms, error = backend.probe_ms, None
        times: list[float] = []
        try:
            while not times or (timed and probe.wants_more(times[1:])):
                outputs, compute_ms = run()
                times.append(compute_ms)
                if (off := probe.largest_error(list(outputs))) > probe.TOLERANCE:
                    error = (
                        f"wrong answer to the probe: off by {off:.2g}, allowed {probe.TOLERANCE}"
                    )
        except BrowserError as failure:
            if failure.category in raises:
                raise
            if failure.category is Category.TIMEOUT:
                wait_s = note_late(backend.name, time.monotonic())
                return _too_late(backend, failure, wait_s)
            error = f"{failure.category}: {failure.message}"
        self._late.answered(backend.name)
        if error is not None:
            probe_ms = None
        elif timed:
            probe_ms = statistics.median(times[1:])
        return replace(backend, probe_ms=probe_ms, probe_ok=error is None, error=error)

    # --- late answers ---

    @property
    def late_is_due(self) -> bool:
        """Whether one that was late with the known answer waits to be asked again; from any thread."""
        return self._late.due(time.monotonic()) is not None

    def ask_late(self, deadline: Deadline) -> None:
        """Ask one that was late again, in an engine beside the one that holds the loaded models.

        One that answers right is offered from then on, and asked once more where it is to compute.

        Raises:
            BrowserError: page or browser broke.
        """
        name = self._late.due(time.monotonic())
        if name is None:
            return
        key = ModelKey.of(self._probe_sha256, name)
        try:
            checked = self._probed(
                self.named(name),
                lambda: self._trial.timed(key, probe.inputs(), deadline),
                _BROWSER_BROKEN,
                self._late.note_again,
            )
        finally:
            self._trial.end()
        self._note(replace(checked, probe_ok=None) if checked.probe_ok else checked)


def _too_late(backend: BackendFacts, failure: BrowserError, wait_s: float | None) -> BackendFacts:
    """One that was late with the known answer; `wait_s`: until it is asked again, None: no more."""
    said = f"{failure.category}: {failure.message}"
    if wait_s is None:
        more = "it was late too often, and is out until the browser starts anew"
        return replace(backend, probe_ms=None, probe_ok=False, error=f"{said}; {more}")
    more = f"not known whether it is right; asked again when idle, after {wait_s:.0f} s"
    return replace(backend, probe_ms=None, probe_ok=None, error=f"{said}; {more}")


def _preference(backend: BackendFacts) -> tuple[bool, float, str]:
    """Healthy before unhealthy, then by the measured time of the same work."""
    return (
        not backend.probe_ok,
        backend.probe_ms if backend.probe_ms is not None else float("inf"),
        backend.name,
    )


def _nothing_left(refused: Mapping[str, BrowserError]) -> BrowserError:
    """OutOfMemory if more memory would have helped one of them; ModelIncompatible if all say that."""
    if not refused:
        return BrowserCapability("the browser has no healthy backend; restart it")
    reasons = "; ".join(f"{name}: {error.message}" for name, error in refused.items())
    message = f"no backend of this browser can run the model ({reasons})"
    if any(isinstance(error, OutOfMemory) for error in refused.values()):
        return OutOfMemory(message)
    unreadable = all(isinstance(error, ModelIncompatible) for error in refused.values())
    return ModelIncompatible(message) if unreadable else UnsupportedOperation(message)
