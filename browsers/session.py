"""One browser as its worker sees it: start, load, run, ping, repair, close.

A session is used by one thread (`loaded` and `tree_pss_mb` by any). The page is the truth about
what is loaded: a run that meets an engine without the model is told so, loads it and runs again, so
that no repair needs to be followed by anything.

Model keys: a file may be loaded on several backends; WebNN wants static shapes and therefore has
one onnxruntime session per set of dimension sizes (`dims`), which the other backends do not need.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from browsers import probe
from browsers.bridge import Bridge, NotLoaded, PageEvent
from browsers.core.adapters import adapter_name, is_software
from browsers.core.errors import (
    BrowserCapability,
    BrowserCrash,
    BrowserError,
    Category,
    ConnectionLost,
    DeadlinePassed,
    InternalError,
    InvalidInput,
    OutOfMemory,
    Rung,
    UnsupportedOperation,
)
from browsers.core.placement_log import Placement, check_claim, parse_placement
from browsers.core.protocol import WireTensor
from browsers.core.residency import Resident, planned_mb, to_unload
from browsers.drivers import (
    BrowserGone,
    CommandTimeout,
    Driver,
    DriverError,
    LaunchedBrowser,
    LaunchFailed,
    LaunchOptions,
    QuitReport,
    TabCrashed,
)
from browsers.reports import (
    BackendFacts,
    BrowserFacts,
    LoadedModel,
    LoadReport,
    MemoryFacts,
    RunReport,
    SessionEvent,
)

__all__ = [
    "BACKENDS",
    "BackendFacts",
    "BrowserFacts",
    "BrowserSession",
    "LoadReport",
    "LoadedModel",
    "MemoryFacts",
    "RunReport",
    "SessionEvent",
]

BACKENDS: Final = ("wasm", "webgpu", "webnn")
DEFAULT_BASELINE_MB: Final = 700.0
"""A browser's own memory where it cannot be measured (a remote one)."""

_SPARE_TAB_FAMILIES: Final = ("chrome", "edge")
_RECONNECT_GRACE_S: Final = 0.1
_PAGE_ANSWER_S: Final = 2.0
_ENGINE_START_S: Final = 20.0
_BROWSER_BROKEN: Final = frozenset({Category.CONNECTION, Category.BROWSER_CRASH})
_NEEDS_REPAIR: Final = _BROWSER_BROKEN | {Category.DEVICE_LOST, Category.TIMEOUT}
_EVENTS: Final = {
    "closed": (Category.CONNECTION, Rung.PING),
    "device_lost": (Category.DEVICE_LOST, Rung.RESTART_ENGINE),
    "engine_dead": (Category.INTERNAL, Rung.PING),
}

_Report = TypeVar("_Report", LoadReport, RunReport)


@dataclass(frozen=True)
class _Key:
    sha256: str
    backend: str
    dims: tuple[tuple[str, int], ...]

    def header(self) -> dict[str, Any]:
        return {"model": self.sha256, "backend": self.backend, "dims": dict(self.dims)}


@dataclass
class _Entry:
    """A model in the page; `engine` names the page and engine that hold it."""

    placement: Placement
    bundle: str
    bytes: int
    engine: tuple[str, int]
    last_used: float
    runs: int = 0


class BrowserSession:
    """A browser with webpool's page in it.

    `files` gives the path of a file by its sha256 (KeyError: unknown). `runtime_dir` holds
    onnxruntime-web's dist files. `threads` is for WebAssembly. `on_event` is called from another
    thread and must not block.
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
    ) -> None:
        self.browser_id = browser_id
        self._driver = driver
        self._launch = launch
        self._files = files
        self._threads = threads
        self._limit_mb = memory_limit_mb
        self._on_event = on_event
        self._probe_sha256 = probe.sha256()
        self._bridge = Bridge(files=self._path, runtime_dir=runtime_dir, on_event=self._page_event)
        self._browser: LaunchedBrowser | None = None
        self._facts: BrowserFacts | None = None
        self._spare_tab: str | None = None
        self._acting = False
        self._timed = False
        self._baseline_mb = DEFAULT_BASELINE_MB
        self._entries: dict[_Key, _Entry] = {}
        self._refused: dict[_Key, str] = {}
        self._hello = threading.Condition()
        self._greeting: Mapping[str, Any] = {}
        self._engine: tuple[str, int] = ("", 0)
        self._answered: dict[str, tuple[str, int]] = {}
        """The engine that each backend last answered the known-answer model in."""

    def __repr__(self) -> str:
        version = self._facts.version if self._facts else "not started"
        return f"<BrowserSession {self.browser_id} {version} models={len(self.loaded())}>"

    # --- life ---

    @property
    def browser(self) -> LaunchedBrowser | None:
        """The launched browser, for whoever looks at its processes."""
        return self._browser

    @property
    def facts(self) -> BrowserFacts | None:
        """What the browser is; a backend whose engine was replaced since it answered is unasked."""
        facts = self._facts
        if facts is None:
            return None
        backends = (
            replace(each, probe_ok=None)
            if each.probe_ok and self._answered.get(each.name) != self._engine
            else each
            for each in facts.backends
        )
        return replace(facts, backends=tuple(sorted(backends, key=_preference)))

    def start(self, deadline_s: float) -> BrowserFacts:
        """Launch the browser, load the page, and check every backend with the known-answer model.

        Raises a BrowserError, and leaves nothing running, if the browser does not come up or no
        backend answers right.
        """
        self._bridge.start()
        try:
            deadline = _Deadline(deadline_s)
            self._bring_up(deadline)
            return self.probe(deadline.left())
        except BaseException:
            self.close(5.0)
            raise

    def restart(self, deadline_s: float = 60.0) -> BrowserFacts:
        """A new browser process in place of the old one; models are loaded again when needed.

        The times of its backends stand until `probe` measures again.
        """
        deadline = _Deadline(deadline_s)
        with self._deliberately():
            self._quit(min(5.0, deadline_s / 2))
            self._bring_up(deadline)
        return self._known()

    def refresh(self, deadline_s: float = 30.0) -> None:
        """Load the page anew, which replaces page, engine and GPU device."""
        deadline = _Deadline(deadline_s)
        former = self._engine[0]
        with self._deliberately():
            with _drivers_errors():
                self._load_page_again(self._running())
            self._wait_hello(deadline, other_than=former)
        self._bridge.request("facts", {}, timeout_s=deadline.left())

    def probe(self, deadline_s: float = 60.0) -> BrowserFacts:
        """Check every backend with the known-answer model; the best one is first in the answer.

        A browser of a version that was not timed yet is also timed, and so is a backend without a
        time. Otherwise one right answer per backend is enough, the times stand, and a software GPU
        adapter is put off until it is used: it takes seconds to compile its shaders and is never
        preferred. BrowserCapability if no backend answers right.
        """
        deadline = _Deadline(deadline_s)
        self._answered.clear()
        backends = self._known().backends
        put_off = [
            b.name for b in backends if self._timed and b.software and b.probe_ms is not None
        ]
        self._check_all([b.name for b in backends if b.name not in put_off], deadline)
        if not self._known().healthy:
            self._check_all(put_off, deadline)
        facts = self._known()
        if not facts.healthy:
            problems = "; ".join(f"{each.name}: {each.error}" for each in facts.backends)
            raise BrowserCapability(f"{self.browser_id}: no backend answered right ({problems})")
        if not self._timed:
            self._baseline_mb = self.tree_pss_mb() or DEFAULT_BASELINE_MB
        self._timed = True
        return facts

    def restart_engine(
        self, *, reason: str = "asked to", timeout_s: float = _ENGINE_START_S
    ) -> None:
        """Replace the engine worker: ends whatever it computes and frees all its memory."""
        deadline = _Deadline(timeout_s)
        self._replace_engine(reason, deadline)
        self._bridge.request("facts", {}, timeout_s=deadline.left())

    def _replace_engine(self, reason: str, deadline: _Deadline) -> None:
        """A new engine is starting when this returns; the next request waits for it."""
        header = {"reason": reason}
        reply, _ = self._bridge.request("restart_engine", header, timeout_s=deadline.left())
        self._engine = (self._engine[0], reply["engine"])

    def reconnect(self, deadline_s: float) -> None:
        """Cut the page's socket and wait until the page has connected again."""
        deadline = _Deadline(deadline_s)
        with self._hello:
            self._greeting = {}
        with self._deliberately():
            self._bridge.drop_connection()
            self._wait_hello(deadline)

    def ping(self, timeout_s: float) -> float:
        """Round trip to the page's main thread in ms; says nothing of the engine's health."""
        try:
            reply, _ = self._bridge.request("ping", {}, timeout_s=timeout_s)
        except ConnectionLost as lost:
            raise self._explained(lost) from lost
        return float(reply["round_trip_ms"])

    def cut(self) -> None:
        """Give up the connection and with it whatever the page was asked; from any thread."""
        self._bridge.drop_connection()

    def close(self, deadline_s: float) -> QuitReport | None:
        """End the browser with all its processes, and the server. Idempotent."""
        with self._deliberately():
            report = self._quit(deadline_s)
            self._bridge.close()
        return report

    def memory(self) -> MemoryFacts:
        """What browser and page use now; a page that does not answer leaves its part unknown."""
        page: Mapping[str, Any] = {}
        with contextlib.suppress(BrowserError):
            page, _ = self._bridge.request("memory", {}, timeout_s=2.0)
        models = self._current().items()
        planned = sum(planned_mb(entry.bytes, backend=key.backend) for key, entry in models)
        return MemoryFacts(
            tree_pss_mb=self.tree_pss_mb(),
            page_mb=_mb(page.get("page_bytes")),
            js_heap_mb=_mb(page.get("js_heap_bytes")),
            planned_mb=self._baseline_mb + planned,
            limit_mb=self._limit_mb,
        )

    def tree_pss_mb(self) -> float | None:
        """Memory of the browser's process tree in MB; may be called from any thread."""
        browser = self._browser
        return browser.pss_mb() if browser is not None else None

    # --- models ---

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models in the page now, the probe excepted."""
        return tuple(
            LoadedModel(key.sha256, key.backend, entry.bytes, entry.last_used, entry.runs)
            for key, entry in self._current().items()
            if key.sha256 != self._probe_sha256
        )

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
        deadline = _Deadline(deadline_s)

        def attempt(name: str, _refused: Mapping[str, BrowserError]) -> LoadReport:
            return self._ready(_key(model_sha256, name, dims), strict, deadline)

        return self._on_first_able(backend, deadline, attempt)

    def unload(self, model_sha256: str) -> None:
        """Release a model on every backend; no error if it is not there."""
        self._bridge.request("unload", {"model": model_sha256}, timeout_s=_ENGINE_START_S)
        for key in [key for key in self._entries if key.sha256 == model_sha256]:
            del self._entries[key]

    def run(
        self,
        *,
        model_sha256: str,
        inputs: Sequence[WireTensor],
        backend: str | None = None,
        strict: bool = False,
        dims: Mapping[str, int] | None = None,
        outputs: Sequence[str] | None = None,
        deadline_s: float,
    ) -> RunReport:
        """Compute; load first if need be.

        `backend` None takes the fastest one that may claim the model and has room for it; a named
        one computes or raises, never another in its place. `strict` allows no node on the CPU provider.
        `dims` gives the sizes of symbolic dimensions, which WebNN needs. `outputs` None means all.
        After `deadline_s` the run is given up with DeadlinePassed and the engine is replaced.
        """
        deadline = _Deadline(deadline_s)
        for tensor in inputs:
            tensor.check()

        def attempt(name: str, refused: Mapping[str, BrowserError]) -> RunReport:
            why = {other: error.message for other, error in refused.items()}
            key = _key(model_sha256, name, dims)
            return self._run(key, inputs, outputs, strict, deadline, why)

        return self._on_first_able(backend, deadline, attempt)

    def _on_first_able(
        self,
        backend: str | None,
        deadline: _Deadline,
        attempt: Callable[[str, Mapping[str, BrowserError]], _Report],
    ) -> _Report:
        """`attempt(name, refused)` on the backend asked for, or on the best one that can do it.

        `refused` holds why better ones could not: their error when they lack an operator, a
        capability or memory.
        """
        refused: dict[str, BrowserError] = {}
        for name in self._candidates(backend):
            try:
                self._require(name, deadline)
                return attempt(name, refused)
            except (UnsupportedOperation, BrowserCapability, OutOfMemory) as error:
                if backend is not None:
                    raise
                refused[name] = error
        raise _nothing_left(refused)

    def _run(
        self,
        key: _Key,
        inputs: Sequence[WireTensor],
        outputs: Sequence[str] | None,
        strict: bool,
        deadline: _Deadline,
        refused: Mapping[str, str],
    ) -> RunReport:
        header = {**key.header(), "outputs": outputs}
        load = self._ready(key, strict, deadline)
        try:
            reply, tensors = self._ask("run", header, inputs, deadline)
        except NotLoaded:
            self._entries.pop(key, None)
            load = self._ready(key, strict, deadline)
            reply, tensors = self._ask("run", header, inputs, deadline)
        entry = self._entries[key]
        entry.last_used = time.time()
        entry.runs += 1
        facts = self._backend(key.backend)
        return RunReport(
            outputs=tensors,
            backend=key.backend,
            adapter=facts.adapter,
            software=facts.software,
            nodes=entry.placement.nodes,
            bundle=entry.bundle,
            compute_ms=reply["compute_ms"],
            page_ms=reply["page_ms"],
            transfer_ms=_rest_ms(reply["round_trip_ms"], reply["page_ms"]),
            load_ms=load.load_ms,
            warm=entry.runs > 1,
            browser_version=self._known().version,
            refused=dict(refused),
            evicted=load.evicted,
        )

    def _ready(self, key: _Key, strict: bool, deadline: _Deadline) -> LoadReport:
        """The model is in the page on a backend that may claim it; loads it if it is not."""
        entry = self._entries.get(key)
        if entry is not None and entry.engine == self._engine:
            check_claim(entry.placement, backend=key.backend, strict=strict)
            nodes = entry.placement.nodes
            return LoadReport(key.sha256, key.backend, entry.bytes, nodes, entry.bundle, None, None)
        if key in self._refused:
            raise UnsupportedOperation(self._refused[key])
        evicted = self._make_room(key)
        try:
            reply, _ = self._ask("load", key.header(), (), deadline)
            placement = parse_placement(reply["placement"])
            entry = _Entry(placement, reply["bundle"], reply["bytes"], self._engine, time.time())
            self._entries[key] = entry
            check_claim(placement, backend=key.backend, strict=False)
        except UnsupportedOperation as error:
            self._refused[key] = error.message
            self._drop(key)
            raise
        check_claim(placement, backend=key.backend, strict=strict)
        return LoadReport(
            key.sha256,
            key.backend,
            entry.bytes,
            placement.nodes,
            entry.bundle,
            reply["load_ms"],
            reply["fetch_ms"],
            evicted,
        )

    def _make_room(self, key: _Key) -> tuple[str, ...]:
        size = self._path_or_error(key.sha256).stat().st_size
        resident = [
            Resident(held, planned_mb(entry.bytes, backend=held.backend), entry.last_used)
            for held, entry in self._current().items()
            if held != key and held.sha256 != self._probe_sha256
        ]
        leaving = to_unload(
            resident,
            incoming_mb=planned_mb(size, backend=key.backend),
            baseline_mb=self._baseline_mb,
            limit_mb=self._limit_mb,
        )
        for held in leaving:
            self._drop(held)
        return tuple(held.sha256 for held in leaving)

    def _drop(self, key: _Key) -> None:
        self._entries.pop(key, None)
        self._bridge.request("unload", key.header(), timeout_s=_ENGINE_START_S)

    def _current(self) -> dict[_Key, _Entry]:
        """Entries whose engine still lives; may be called from any thread."""
        engine = self._engine
        return {key: entry for key, entry in list(self._entries.items()) if entry.engine == engine}

    # --- asking the page ---

    def _ask(
        self,
        op: str,
        header: Mapping[str, Any],
        tensors: Sequence[WireTensor],
        deadline: _Deadline,
    ) -> tuple[dict[str, Any], list[WireTensor]]:
        """A request to the engine, whose failures are made good or explained."""
        try:
            return self._bridge.request(op, header, tensors, timeout_s=deadline.left())
        except DeadlinePassed as late:
            raise self._give_up(op, deadline) from late
        except ConnectionLost as lost:
            raise self._explained(lost) from lost

    def _give_up(self, op: str, deadline: _Deadline) -> DeadlinePassed:
        """Replace the engine, so that the next request does not queue behind the stuck one."""
        message = f"{self.browser_id} did not finish {op!r} within {deadline.total_s:.1f} s"
        try:
            self._replace_engine(f"{op} passed its deadline", _Deadline(_PAGE_ANSWER_S))
        except BrowserError as error:
            return DeadlinePassed(
                f"{message}; its page does not replace the engine ({error.message})",
                first_rung=Rung.REFRESH,
            )
        return DeadlinePassed(f"{message}; its engine was replaced", first_rung=Rung.PING)

    def _explained(self, lost: ConnectionLost) -> BrowserError:
        """Whether a lost connection means a dead browser, a dead page or only a cut socket.

        A living page connects again within milliseconds; one that does not is taken for dead.
        """
        deadline = _Deadline(_RECONNECT_GRACE_S)
        while not deadline.passed():
            if self._bridge.connected:
                return lost
            if self._browser is None or not self._browser.alive():
                return BrowserCrash(
                    f"{self.browser_id}: the browser's process ended", first_rung=Rung.RESTART
                )
            time.sleep(0.005)
        return BrowserCrash(
            f"{self.browser_id}: the page is gone while the browser's process lives",
            first_rung=Rung.REFRESH,
        )

    def _load_page_again(self, browser: LaunchedBrowser) -> None:
        """Refresh the tab, or move to the spare one if its process crashed.

        In Chromium nothing helps a crashed tab, and no other can be opened from it; a tab that was
        opened beforehand works.
        """
        try:
            browser.refresh()
        except TabCrashed:
            if self._spare_tab is None:
                raise
            browser.switch_tab(self._spare_tab)
            browser.navigate(self._bridge.url(threads=self._threads))
            self._spare_tab = browser.open_spare_tab()

    # --- starting ---

    def _bring_up(self, deadline: _Deadline) -> None:
        with self._hello:
            self._greeting = {}
        with _drivers_errors():
            self._browser = self._driver.launch(self._launch)
            self._browser.navigate(self._bridge.url(threads=self._threads))
            needs_spare = self._browser.installation.family in _SPARE_TAB_FAMILIES
            self._spare_tab = self._browser.open_spare_tab() if needs_spare else None
        greeting = self._wait_hello(deadline)
        self._entries.clear()
        self._refused.clear()
        former = self._facts.version if self._facts else ""
        self._timed = self._timed and former == self._browser.version
        engine, _ = self._bridge.request("facts", {}, timeout_s=deadline.left())
        installation = self._browser.installation
        self._facts = BrowserFacts(
            family=installation.family,
            kind=installation.kind,
            version=self._browser.version,
            driver_version=installation.driver_version,
            user_agent=greeting["user_agent"],
            host=socket.gethostname(),
            cores=greeting["cores"],
            threads=engine["threads"],
            backends=tuple(self._described(each, engine) for each in engine["backends"]),
        )

    def _described(self, fields: Mapping[str, Any], engine: Mapping[str, Any]) -> BackendFacts:
        """A backend as the page describes it, with what was measured of it before."""
        former = {each.name: each for each in self._facts.backends} if self._facts else {}
        measured = former.get(fields["name"]) if fields["available"] else None
        return BackendFacts(
            name=fields["name"],
            available=fields["available"],
            adapter=adapter_name(fields["adapter"]),
            software=is_software(fields["adapter"]) if fields["name"] == "webgpu" else None,
            features=tuple(fields["features"]),
            bundle=engine["bundle"],
            probe_ms=measured.probe_ms if measured else None,
            probe_ok=None,
            error=measured.error if measured else fields["reason"],
        )

    def _check_all(self, names: Sequence[str], deadline: _Deadline) -> None:
        """Ask these backends, none of them for so long that nothing is left for the others.

        One that takes the engine down makes those that answered before it answer once more.
        """
        right = [name for name in names if self._check(name, deadline.half()).probe_ok]
        for name in right:
            if self._backend(name).probe_ok is None:
                self._check(name, deadline.half())

    def _check(
        self, name: str, deadline: _Deadline, *, raises: frozenset[Category] = _BROWSER_BROKEN
    ) -> BackendFacts:
        """Ask a backend the known-answer model and note what came of it."""
        backend = self._backend(name)
        if not backend.available:
            return backend
        checked = self._probed(backend, deadline, raises)
        self._answered[name] = self._engine
        facts = self._known()
        backends = tuple(checked if each.name == name else each for each in facts.backends)
        self._facts = replace(facts, backends=backends)
        return checked

    def _probed(
        self, backend: BackendFacts, deadline: _Deadline, raises: frozenset[Category]
    ) -> BackendFacts:
        """The backend after the known-answer model: right or wrong, and how fast if that is open.

        The first run also warms the backend up and is not counted. Errors of the categories in
        `raises` say nothing of the backend and are raised.
        """
        timed = not self._timed or backend.probe_ms is None
        key = _key(self._probe_sha256, backend.name, None)
        probe_ms, error = backend.probe_ms, None
        times: list[float] = []
        try:
            while not times or (timed and probe.wants_more(times[1:])):
                report = self._run(key, probe.inputs(), None, False, deadline, {})
                times.append(report.compute_ms)
                if (off := probe.largest_error(report.outputs)) > probe.TOLERANCE:
                    error = (
                        f"wrong answer to the probe: off by {off:.2g}, allowed {probe.TOLERANCE}"
                    )
        except BrowserError as failure:
            if failure.category in raises:
                raise
            error = f"{failure.category}: {failure.message}"
        if error is not None:
            probe_ms = None
        elif timed:
            probe_ms = statistics.median(times[1:])
        return replace(backend, probe_ms=probe_ms, probe_ok=error is None, error=error)

    def _wait_hello(self, deadline: _Deadline, *, other_than: str = "") -> Mapping[str, Any]:
        def greeted() -> bool:
            return bool(self._greeting) and self._greeting["page"] != other_than

        with self._hello:
            if not self._hello.wait_for(greeted, timeout=deadline.left()):
                raise DeadlinePassed(
                    f"{self.browser_id}: the page did not connect within {deadline.total_s:.1f} s",
                    first_rung=Rung.RESTART,
                )
            return self._greeting

    def _page_event(self, event: PageEvent) -> None:
        """In the bridge's threads: note which engine lives, tell whoever listens what broke."""
        if event.name in ("hello", "engine_dead"):
            self._engine = (event.fields["page"], event.fields["engine"])
        if event.name in ("hello", "closed"):
            with self._hello:
                self._greeting = event.fields if event.name == "hello" else {}
                self._hello.notify_all()
        if event.name in _EVENTS and not self._acting:
            category, rung = _EVENTS[event.name]
            self._on_event(SessionEvent(event.name, category, str(event.fields["message"]), rung))

    @contextlib.contextmanager
    def _deliberately(self) -> Iterator[None]:
        """What closes meanwhile was closed by us: no event."""
        self._acting = True
        try:
            yield
        finally:
            self._acting = False

    def _quit(self, deadline_s: float) -> QuitReport | None:
        browser, self._browser = self._browser, None
        return browser.quit(deadline_s) if browser is not None else None

    # --- what it knows ---

    def _running(self) -> LaunchedBrowser:
        if self._browser is None:
            raise BrowserCrash(f"{self.browser_id} is not running", first_rung=Rung.RESTART)
        return self._browser

    def _known(self) -> BrowserFacts:
        facts = self.facts
        if facts is None:
            raise BrowserCrash(f"{self.browser_id} has not started", first_rung=Rung.RESTART)
        return facts

    def _backend(self, name: str) -> BackendFacts:
        for backend in self._known().backends:
            if backend.name == name:
                return backend
        raise InvalidInput(f"expected a backend of {', '.join(BACKENDS)}, got {name!r}")

    def _candidates(self, backend: str | None) -> tuple[str, ...]:
        """The backends to try: the one asked for, or all that are offered, best first."""
        if backend is not None:
            return (backend,)
        return tuple(each.name for each in self._known().backends if each.offered)

    def _require(self, name: str, deadline: _Deadline) -> None:
        """The backend has answered right in this engine; asks it if that is open."""
        facts = self._backend(name)
        if facts.probe_ok is None:
            facts = self._check(name, deadline, raises=_NEEDS_REPAIR)
        if not facts.probe_ok:
            raise BrowserCapability(f"{self.browser_id} has no working {name}: {facts.error}")

    def _path(self, sha256: str) -> Path:
        return probe.PROBE_PATH if sha256 == self._probe_sha256 else self._files(sha256)

    def _path_or_error(self, sha256: str) -> Path:
        try:
            return self._path(sha256)
        except KeyError:
            raise InternalError(f"no model file {sha256} is on this machine") from None


class _Deadline:
    """A point in time on the steady clock."""

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self._until = time.monotonic() + total_s

    def half(self) -> _Deadline:
        """Half of what is left."""
        return _Deadline(self.left() / 2)

    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def passed(self) -> bool:
        return self.left() <= 0


class _drivers_errors:  # noqa: N801  (used as a `with` statement)
    """Drivers' errors in the terms of browsers.core.errors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DriverError):
            raise _translated(error) from error


def _translated(error: DriverError) -> BrowserError:
    match error:
        case LaunchFailed():
            return BrowserCrash(str(error), first_rung=Rung.RESTART)
        case TabCrashed():
            return BrowserCrash(str(error), first_rung=Rung.REFRESH)
        case BrowserGone():
            return BrowserCrash(str(error), first_rung=Rung.RESTART)
        case CommandTimeout():
            return DeadlinePassed(str(error), first_rung=Rung.RESTART)
    return InternalError(str(error), first_rung=Rung.RESTART)


def _key(sha256: str, backend: str, dims: Mapping[str, int] | None) -> _Key:
    sizes = tuple(sorted((dims or {}).items())) if backend == "webnn" else ()
    return _Key(sha256, backend, sizes)


def _preference(backend: BackendFacts) -> tuple[bool, float, str]:
    """Healthy before unhealthy, then by the measured time of the same work."""
    return (
        not backend.probe_ok,
        backend.probe_ms if backend.probe_ms is not None else float("inf"),
        backend.name,
    )


def _nothing_left(refused: Mapping[str, BrowserError]) -> BrowserError:
    """OutOfMemory if more memory would have helped one of them."""
    if not refused:
        return BrowserCapability("the browser has no healthy backend; restart it")
    reasons = "; ".join(f"{name}: {error.message}" for name, error in refused.items())
    message = f"no backend of this browser can run the model ({reasons})"
    full = any(isinstance(error, OutOfMemory) for error in refused.values())
    return OutOfMemory(message) if full else UnsupportedOperation(message)


def _rest_ms(total_ms: float, part_ms: float | None) -> float | None:
    """What of a time remains beside its part; None if the part is unknown or longer."""
    return None if part_ms is None or part_ms > total_ms else total_ms - part_ms


def _mb(count: float | None) -> float | None:
    return None if count is None else count / 1e6
