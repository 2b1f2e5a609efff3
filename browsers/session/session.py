"""What a worker asks of its browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from browsers import probe
from browsers.bridge import Connection
from browsers.core.answers.known import Known
from browsers.core.errors import BrowserError, DeadlinePassed
from browsers.core.failures import Rung
from browsers.core.protocol import WireTensor
from browsers.core.residency import DEFAULT_BASELINE_MB
from browsers.drivers import Driver, LaunchedBrowser, LaunchOptions, QuitReport
from browsers.reports import (
    BrowserFacts,
    LoadedModel,
    LoadEvent,
    LoadReport,
    MemoryFacts,
    RunReport,
    SessionEvent,
)
from browsers.session.backends import BACKENDS, Backends
from browsers.session.deadline import Deadline
from browsers.session.decoding import Decoding
from browsers.session.idle import IdleWork
from browsers.session.page import ENGINE_START_S, Page
from browsers.session.proving import ProofBook, Proving
from browsers.session.residents import ModelKey, Residents
from browsers.session.window import Window

_GREETS_WITHIN_S = 5.0  # after the driver has said that the page is loaded; each time twice as long


class BrowserSession:
    """A browser with webpool's page in it, used by one thread (`facts`, `loaded`, `cut`, `tree_pss_mb` and
    `tree_rss_mb` by any).

    `files` gives the path of a file by its sha256 (KeyError: unknown). `runtime_dir` holds
    onnxruntime-web's dist files. `threads` is for WebAssembly. `on_event` is called from another
    thread and must not block. `on_load` is told of each load of a model, the probe's excepted, by the
    thread that uses the session. With `proofs`, where proofs are kept and what is known of a file, no
    backend computes a file before it answered it right; without, whoever uses the session checks its answers.
    Of the browser's backends those in `backends` are used.
    """

    def __init__(
        self,
        *,
        browser_id: str,
        driver: Driver,
        launch: LaunchOptions,
        files: Callable[[str], Path],
        runtime_dir: Path,
        threads: int,
        memory_limit_mb: float,
        on_event: Callable[[SessionEvent], None],
        on_load: Callable[[LoadEvent], None] = lambda event: None,
        proofs: tuple[ProofBook, Callable[[str], Known]] | None = None,
        backends: Collection[str] = BACKENDS,
    ) -> None:
        self.browser_id = browser_id
        self._on_load = on_load
        self._fresh_mb: float | None = None
        probe_sha256 = probe.sha256()

        def path(sha256: str) -> Path:
            return probe.PROBE_PATH if sha256 == probe_sha256 else files(sha256)

        self._window = Window(browser_id, driver, launch)
        self._page = Page(
            browser_id,
            files=path,
            runtime_dir=runtime_dir,
            threads=threads,
            alive=self._window.alive,
            on_event=on_event,
        )
        self._residents = Residents(
            self._page,
            path,
            limit_mb=memory_limit_mb,
            hidden=probe_sha256,
            on_load=self._tell_load,
        )
        self._backends = Backends(browser_id, self._page, self._residents, backends)
        self._proving = (
            Proving(browser_id, self._page, self._backends, self._residents, *proofs)
            if proofs
            else None
        )
        self.decoding = Decoding(self._page, self._backends, self._residents, self._proving)
        self.idle = IdleWork(browser_id, self._backends, self._residents, self._proving)

    def __repr__(self) -> str:
        version = self.facts.version if self.facts else "not started"
        return f"<BrowserSession {self.browser_id} {version} models={len(self.loaded())}>"

    @property
    def browser(self) -> LaunchedBrowser | None:
        """The launched browser, for whoever looks at its processes."""
        return self._window.browser

    def alive(self) -> bool:
        """Whether the browser's processes are there; from any thread."""
        return self._window.alive()

    def stopped(self) -> list[str]:
        """Those of driver's and browser's processes that were stopped; from any thread."""
        return self._window.stopped()

    def ask_browser(self) -> None:
        """Have the browser answer its driver: a page may go on computing when neither does.

        Raises:
            BrowserError: it does not.
        """
        self._window.ask()

    @property
    def connected(self) -> bool:
        """Whether the page is; from any thread."""
        return self._page.bridge.connected

    @property
    def connection(self) -> Connection | None:
        """The page's connection now, for `cut`; from any thread."""
        return self._page.bridge.connection

    @property
    def facts(self) -> BrowserFacts | None:
        """What the browser is; a backend whose engine was replaced since it answered is unasked."""
        return self._backends.facts

    # --- life ---

    def start(self, deadline_s: float) -> BrowserFacts:
        """Launch the browser, load the page, and check every backend with the known-answer model.

        Raises a BrowserError, and leaves nothing running, if the browser does not come up or no
        backend answers right.
        """
        self._page.bridge.start()
        try:
            deadline = Deadline(deadline_s)
            self._bring_up(deadline)
            return self.probe(deadline.left())
        except BaseException:
            self.close(5.0)
            raise

    def _bring_up(self, deadline: Deadline, *, polite: bool = False) -> None:
        self._page.expect()
        browser = self._window.open(self._page.serve_in, polite=polite)
        greeting = self._greeting(deadline)
        self._residents.forget()
        self._backends.describe(browser, greeting, self._page.facts(deadline))

    def _greeting(self, deadline: Deadline, *, other_than: str = "") -> Mapping[str, Any]:
        """Wait for the page just shown; one that died before it could greet is shown anew."""
        patience_s = _GREETS_WITHIN_S
        while not deadline.passed():
            with contextlib.suppress(DeadlinePassed):
                return self._page.wait(deadline.part(patience_s), other_than=other_than)
            patience_s *= 2
            self._window.show_anew(self._page.url)
        raise DeadlinePassed(
            f"{self.browser_id}: the page did not connect within {deadline.total_s:.1f} s",
            first_rung=Rung.RESTART,
        )

    def probe(self, deadline_s: float = 60.0) -> BrowserFacts:
        """Check every backend with the known-answer model; the best one is first in the answer.

        A browser of a version that was not timed yet is also timed, and so is a backend without a
        time. Otherwise one right answer per backend is enough, the times stand, and a software GPU
        adapter is put off until it is used: it takes seconds to compile its shaders and is never
        preferred. BrowserCapability if no backend answers right.
        """
        first = not self._backends.timed
        facts = self._backends.probe(Deadline(deadline_s))
        if first:
            self._fresh_mb = self.tree_pss_mb()
            self._residents.baseline_mb = self._fresh_mb or DEFAULT_BASELINE_MB
        return facts

    def close(self, deadline_s: float) -> QuitReport | None:
        """End the browser with all its processes, and the server. Idempotent."""
        with self._page.deliberately():
            report = self._window.quit(deadline_s)
            self._page.bridge.close()
        return report

    # --- repair ---

    def ping(self, timeout_s: float) -> float:
        """Round trip to the page's main thread in ms; says nothing of the engine's health."""
        return self._page.ping(timeout_s)

    def cut(self, connection: Connection | None) -> None:
        """Give up that connection and with it whatever the page was asked; from any thread."""
        self._page.cut(connection)

    def restart_engine(
        self, *, reason: str = "asked to", timeout_s: float = ENGINE_START_S
    ) -> None:
        """Replace the engine worker: ends whatever it computes and frees all its memory."""
        deadline = Deadline(timeout_s)
        self._page.replace_engine(reason, deadline)
        self._page.facts(deadline)

    def reconnect(self, deadline_s: float) -> None:
        """Cut the page's socket and wait until the page has connected again."""
        self._page.reconnect(Deadline(deadline_s))

    def refresh(self, deadline_s: float = 30.0, *, polite: bool = False) -> None:
        """Load the page anew, which replaces page, engine and GPU device; `polite` as in `restart`."""
        deadline = Deadline(deadline_s)
        if polite and self._window.browser is not None:
            self._window.browser.give_way()
        former = self._page.engine[0]
        with self._page.deliberately():
            self._window.show_again(self._page.url)
            self._greeting(deadline, other_than=former)
        self._page.facts(deadline)

    def restart(self, deadline_s: float = 60.0, *, polite: bool = False) -> BrowserFacts:
        """A new browser process in place of the old one; models are loaded again when needed.

        The times of its backends stand until `probe` measures again. A `polite` one leaves the processor to
        others until `at_full_speed`.
        """
        deadline = Deadline(deadline_s)
        with self._page.deliberately():
            self._window.quit(min(5.0, deadline_s / 2))
            self._bring_up(deadline, polite=polite)
        return self._backends.known()

    def at_full_speed(self) -> None:
        """End the politeness of a repair."""
        if self._window.browser is not None:
            self._window.browser.at_full_speed()

    # --- memory ---

    def memory(self) -> MemoryFacts:
        """What browser and page use now, from any thread; a page that does not answer leaves it open."""
        page = self._page.memory()
        return MemoryFacts(
            tree_pss_mb=self.tree_pss_mb(),
            page_mb=_mb(page.get("page_bytes")),
            js_heap_mb=_mb(page.get("js_heap_bytes")),
            planned_mb=self._residents.planned_mb(),
            limit_mb=self._residents.limit_mb,
        )

    @property
    def fresh_mb(self) -> float | None:
        """What the process tree took when it was started, without a model, in MB; None: not measured."""
        return self._fresh_mb

    def tree_pss_mb(self) -> float | None:
        """Memory of the browser's process tree in MB; may be called from any thread."""
        return self._window.pss_mb()

    def tree_rss_mb(self) -> float | None:
        """The same with shared pages in full: not what the tree takes, but cheap, and moves with it."""
        return self._window.rss_mb()

    # --- models ---

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models in the page now, the probe excepted."""
        return self._residents.loaded()

    def is_warm(
        self,
        model_sha256: str,
        *,
        backend: str | None,
        prefer: str = "",
        dims: Mapping[str, int] | None,
        inputs: Sequence[WireTensor],
    ) -> bool:
        """Whether a run would meet the model loaded, proved, on a backend where it has run twice already."""
        for name in self._backends.candidates(backend, prefer=prefer):
            key = ModelKey.of(model_sha256, name, dims)
            proved = self._proving is None or self._proving.proved(key, inputs)
            if proved and not self._residents.refuses(key):
                return bool(self._backends.named(name).probe_ok) and self._residents.runs(key) > 1
        return False

    def unload(self, model_sha256: str) -> None:
        """Release a model on every backend; no error if it is not there."""
        self._residents.unload(model_sha256)

    def load(
        self,
        model_sha256: str,
        *,
        backend: str | None = None,
        strict: bool = False,
        dims: Mapping[str, int] | None = None,
        deadline_s: float,
    ) -> LoadReport:
        """Load a model on a backend (None: the best that may claim it); no work if it is there."""
        deadline = Deadline(deadline_s)

        def attempt(name: str, _refused: Mapping[str, BrowserError], named: bool) -> LoadReport:
            key = ModelKey.of(model_sha256, name, dims)
            if self._proving is not None and not named:
                self._proving.may_load(key)
            return self._residents.ready(key, strict, deadline)

        return self._backends.on_first_able(backend, deadline, attempt)

    def _tell_load(self, key: ModelKey, outcome: LoadReport | BrowserError) -> None:
        self._on_load(LoadEvent.of(key.sha256, self._backends.named(key.backend), outcome))

    def run(
        self,
        *,
        model_sha256: str,
        inputs: Sequence[WireTensor],
        backend: str | None = None,
        prefer: str = "",
        strict: bool = False,
        dims: Mapping[str, int] | None = None,
        outputs: Sequence[str] | None = None,
        deadline_s: float,
        meanwhile: Callable[[], object] | None = None,
    ) -> RunReport:
        """Compute; load first if need be.

        `backend` None takes the fastest one that is proved, may claim the model and has room for it,
        beginning with `prefer`; a named one computes or raises, never another in its place. `strict` allows
        no node on the CPU provider. `dims` gives the sizes of symbolic dimensions, which WebNN needs.
        `outputs` None means all.
        After `deadline_s` the run is given up with DeadlinePassed and the engine is replaced.
        `meanwhile` is called while the page computes; it must not raise.
        """
        deadline = Deadline(deadline_s)
        for tensor in inputs:
            tensor.check()

        def attempt(name: str, refused: Mapping[str, BrowserError], named: bool) -> RunReport:
            key = ModelKey.of(model_sha256, name, dims)
            held = self._residents.holds(key)
            unproved = (
                self._proving.allow(key, inputs, deadline, named=named) if self._proving else ""
            )
            computed = self._residents.run(key, inputs, outputs, strict, deadline, meanwhile)
            # What was loaded to be proved was loaded for this run.
            load = computed.load if held else self._residents.how_loaded(key) or computed.load
            facts = self._backends.named(name)
            return RunReport(
                outputs=computed.outputs,
                backend=name,
                adapter=facts.adapter,
                software=facts.software,
                nodes=load.nodes,
                bundle=load.bundle,
                compute_ms=computed.compute_ms,
                page_ms=computed.page_ms,
                transfer_ms=computed.transfer_ms,
                load_ms=load.load_ms,
                warm=computed.warm,
                browser_version=self._backends.version,
                refused={other: error.message for other, error in refused.items()},
                evicted=load.evicted,
                unproved=unproved,
            )

        return self._backends.on_first_able(backend, deadline, attempt, prefer=prefer)


def _mb(count: float | None) -> float | None:
    return None if count is None else count / 1e6
