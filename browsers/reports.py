"""What a browser session tells: plain facts, measured in the browser or null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from browsers.core.errors import BrowserError
from browsers.core.failures import Category, Rung
from browsers.core.protocol import WireTensor


@dataclass(frozen=True)
class BackendFacts:
    """One backend of a browser. `probe_ms` is the median time of the known-answer model.

    `available`: the browser has it. `probe_ok`: it also answered right; None if the engine that
    lives now was not asked. `adapter`: what WebGPU tells of its adapter; None for the others.
    `software`: a program instead of a GPU; None where the browser does not tell or no GPU is
    involved. `bundle`: the onnxruntime-web bundle that is tried first.
    """

    name: str
    available: bool
    adapter: str | None
    software: bool | None
    features: tuple[str, ...]
    bundle: str
    probe_ms: float | None
    probe_ok: bool | None
    error: str | None

    @property
    def offered(self) -> bool:
        """It answered right, or did before a repair and is asked again before it computes."""
        unasked = self.available and self.probe_ok is None and self.probe_ms is not None
        return bool(self.probe_ok) or unasked


@dataclass(frozen=True)
class BrowserFacts:
    """The browser as it is; backends in the order of preference, the healthy ones first.

    `runtime`: what computes in its page, and its version.
    """

    family: str
    kind: str
    version: str
    driver_version: str | None
    user_agent: str
    host: str
    cores: int | None
    threads: int
    runtime: str
    backends: tuple[BackendFacts, ...]

    @property
    def gpu(self) -> str:
        """The adapter that WebGPU tells of, and whether it is a program; empty where it tells none."""
        for backend in self.backends:
            if backend.adapter:
                return f"{backend.adapter} (software)" if backend.software else backend.adapter
        return ""

    @property
    def healthy(self) -> tuple[BackendFacts, ...]:
        """Those that answered right since browser, page and engine were last replaced."""
        return tuple(backend for backend in self.backends if backend.probe_ok)


@dataclass(frozen=True)
class LoadReport:
    """A model is loaded and its backend may claim it.

    `nodes`: graph nodes per execution provider. `bundle`: the onnxruntime-web bundle that holds it.
    `evicted`: models unloaded to make room. `load_ms` is None if it was there already.
    """

    model_sha256: str
    backend: str
    bytes: int
    nodes: Mapping[str, int]
    bundle: str
    load_ms: float | None
    fetch_ms: float | None
    evicted: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadEvent:
    """How one load of a model file went, failures included: they have an `error_category`.

    `load_ms` and `fetch_ms` are the page's own times, None for a load that failed.
    """

    model_sha256: str
    backend: str
    adapter: str | None
    software: bool | None
    bytes: int | None = None
    bundle: str | None = None
    nodes: Mapping[str, int] = field(default_factory=dict)
    load_ms: float | None = None
    fetch_ms: float | None = None
    evicted: tuple[str, ...] = ()
    error_category: str | None = None
    error: str | None = None

    @classmethod
    def of(
        cls, sha256: str, backend: BackendFacts, outcome: LoadReport | BrowserError
    ) -> LoadEvent:
        """The event of a load that ended so."""
        event = cls(sha256, backend.name, backend.adapter, backend.software)
        if isinstance(outcome, BrowserError):
            return replace(event, error_category=outcome.category, error=outcome.message)
        return replace(
            event,
            bytes=outcome.bytes,
            bundle=outcome.bundle,
            nodes=outcome.nodes,
            load_ms=outcome.load_ms,
            fetch_ms=outcome.fetch_ms,
            evicted=outcome.evicted,
        )


@dataclass(frozen=True)
class RunReport:
    """An answer and what really computed it.

    `compute_ms`: inside onnxruntime's run, by the page's clock. `page_ms`: in the page altogether.
    `transfer_ms`: the rest of the round trip. Both are None if the clocks disagree (less than 0).
    `bundle`: the onnxruntime-web bundle. `load_ms`: of this call's load, None if it needed none.
    `warm`: this model had run on this backend in this engine before. `refused`: why backends that
    would have been preferred could not take it. `unproved`: why it is not proved that this backend answers
    the file right for such shapes; empty where it is.
    """

    outputs: list[WireTensor]
    backend: str
    adapter: str | None
    software: bool | None
    nodes: Mapping[str, int]
    bundle: str
    compute_ms: float
    page_ms: float | None
    transfer_ms: float | None
    load_ms: float | None
    warm: bool
    browser_version: str
    refused: Mapping[str, str] = field(default_factory=dict)
    evicted: tuple[str, ...] = ()
    unproved: str = ""


@dataclass(frozen=True)
class LoadedModel:
    """A model file resident on a backend; `last_used` is seconds since the epoch.

    `sized`: it was compiled for certain sizes of its symbolic dimensions, and serves no others (WebNN).
    """

    sha256: str
    backend: str
    bytes: int
    last_used: float
    runs: int
    sized: bool = False


@dataclass(frozen=True)
class MemoryFacts:
    """Memory in MB; None where it cannot be measured.

    `tree_pss_mb`: the browser's processes, shared pages in proportion. `page_mb`: what the page's
    agent measures of itself (Chromium, seldom). `planned_mb`: baseline and loaded models by plan.
    """

    tree_pss_mb: float | None
    page_mb: float | None
    js_heap_mb: float | None
    planned_mb: float
    limit_mb: float


@dataclass(frozen=True)
class SessionEvent:
    """Something that broke unasked: `closed`, `engine_dead`, `device_lost`; or `hung` and `gone`, as seen by
    the worker.

    `first_rung` is where its repair starts: an engine that died was replaced by the page already.
    What the session does itself (restart, refresh, replacing an engine) makes no event.
    """

    name: str
    category: Category
    message: str
    first_rung: Rung | None
