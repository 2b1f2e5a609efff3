"""Which models are in the page: loading them, making room for them, computing with them.

The page is the truth about what is loaded: a run that meets an engine without the model is told so,
loads it and runs again, so that no repair needs to be followed by anything.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from browsers.bridge import NotLoaded
from browsers.core.errors import (
    BrowserError,
    InternalError,
    ModelIncompatible,
    OutOfMemory,
    UnsupportedOperation,
)
from browsers.core.placement_log import Placement, check_claim, parse_placement
from browsers.core.protocol import WireTensor
from browsers.core.residency import DEFAULT_BASELINE_MB, Resident, planned_mb, to_unload
from browsers.reports import LoadedModel, LoadReport
from browsers.session.deadline import Deadline
from browsers.session.kept import Kept
from browsers.session.page import Page

_IN_USE_S: Final = 600.0  # a model that was not used for so long is loaded when it is needed


class FileUnusable(InternalError):
    """The file is not there to be loaded, or not whole: no fault of who would compute it."""


@dataclass(frozen=True)
class ModelKey:
    """A file may be loaded on several backends.

    WebNN wants static shapes and therefore has one onnxruntime session per set of dimension sizes
    (`dims`), which the other backends do not need.
    """

    sha256: str
    backend: str
    dims: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, sha256: str, backend: str, dims: Mapping[str, int] | None = None) -> ModelKey:
        sizes = tuple(sorted((dims or {}).items())) if backend == "webnn" else ()
        return cls(sha256, backend, sizes)

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
    loaded: LoadReport | None = None
    runs: int = 0


@dataclass(frozen=True)
class Computed:
    """An answer with the load that came before it; times as in RunReport."""

    outputs: list[WireTensor]
    load: LoadReport
    compute_ms: float
    page_ms: float | None
    transfer_ms: float | None
    warm: bool


class Residents:
    """The models in one page, under a memory limit. Used by one thread; `loaded` by any.

    `path` gives the path of a file by its sha256 (KeyError: unknown). `hidden` is the probe's
    sha256: it is neither listed nor unloaded. `on_load` is told how each load of another file went.
    """

    def __init__(
        self,
        page: Page,
        path: Callable[[str], Path],
        *,
        limit_mb: float,
        hidden: str,
        on_load: Callable[[ModelKey, LoadReport | BrowserError], None],
    ) -> None:
        self.limit_mb = limit_mb
        self.baseline_mb = DEFAULT_BASELINE_MB
        self._page = page
        self._path = path
        self._hidden = hidden
        self._on_load = on_load
        self._entries: dict[ModelKey, _Entry] = {}
        self._refused: dict[ModelKey, tuple[type[BrowserError], str]] = {}
        self._pins: dict[str, tuple[ModelKey, float]] = {}
        self.kept = Kept(page)
        self._whole: dict[str, tuple[int, int]] = {}
        """Files that were found whole, by when they were written and their size."""

    def forget(self) -> None:
        """A new browser: nothing is loaded, and nothing was refused yet."""
        self._entries.clear()
        self._refused.clear()
        self._pins.clear()

    def loaded(self) -> tuple[LoadedModel, ...]:
        return tuple(
            LoadedModel(
                key.sha256, key.backend, entry.bytes, entry.last_used, entry.runs, bool(key.dims)
            )
            for key, entry in self._current().items()
            if key.sha256 != self._hidden
        )

    def holds(self, key: ModelKey) -> bool:
        """Whether it is loaded."""
        return key in self._current()

    def how_loaded(self, key: ModelKey) -> LoadReport | None:
        """How its load went; None: it is not there."""
        entry = self._current().get(key)
        return entry.loaded if entry else None

    def pin(self, holder: str, key: ModelKey, cache_mb: float) -> None:
        """Keep a model while a session uses it, and room for the session's cache beside it.

        Raises:
            OutOfMemory: there is no room for the cache; nothing is kept.
        """
        self._pins[holder] = (key, cache_mb)
        try:
            self._make_room(key)
        except OutOfMemory:
            self.unpin(holder)
            raise

    def unpin(self, holder: str) -> None:
        """The session's cache is freed; from any thread."""
        self._pins.pop(holder, None)

    @property
    def lost(self) -> bool:
        """Whether models that were in use went with their engine or page; from any thread."""
        return bool(self._lost())

    def reload_next(self, deadline: Deadline) -> None:
        """Load the lost one that was used last; without room beside what is there it is left.

        Raises:
            BrowserError: it could not be loaded; it is not lost any more, but gone.
        """
        lost = self._lost()
        if not lost:
            return
        key = max(lost, key=lambda each: lost[each].last_used)
        former = self._entries.pop(key)
        if self.fits_beside(key):
            self.ready(key, False, deadline)
            self._entries[key].last_used = former.last_used

    def _lost(self) -> dict[ModelKey, _Entry]:
        engine, since = self._page.engine, time.time() - _IN_USE_S
        return {
            key: entry
            for key, entry in list(self._entries.items())
            if entry.engine != engine
            and entry.runs
            and entry.last_used > since
            and key.sha256 != self._hidden
        }

    def _pinned(self) -> tuple[set[ModelKey], float]:
        """Models that stay, and the memory of the caches beside them in MB."""
        pins = list(self._pins.values())
        return {key for key, _ in pins}, sum(cache_mb for _, cache_mb in pins) + self.kept.mb

    def fits_beside(self, key: ModelKey) -> bool:
        """Whether it is loaded, or could be without unloading anything; a file that is gone cannot."""
        try:
            return self.holds(key) or not self._leaving(key)
        except (OutOfMemory, FileUnusable):
            return False

    def make_way(self, key: ModelKey) -> None:
        """See that its file is whole, and unload what it has no room beside.

        Raises:
            FileUnusable: it is not there, or damaged.
            OutOfMemory: there would be no room without all others.
        """
        self._check_file(key.sha256)
        self._make_room(key)

    def _check_file(self, sha256: str) -> None:
        """Refuse a file whose bytes are not those of its name; read again when it was changed.

        Raises:
            FileUnusable: it is damaged.
        """
        path = self._file(sha256)
        facts = path.stat()
        state = (facts.st_mtime_ns, facts.st_size)
        if self._whole.get(sha256) == state:
            return
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == sha256:
            self._whole[sha256] = state
        else:
            raise FileUnusable(
                f"the model file {sha256[:12]}… is damaged on disk, its bytes have the SHA-256 "
                f"{found[:12]}…: delete the model and register it again"
            )

    def release(self, key: ModelKey) -> None:
        """Unload a file from one backend; no error if it is not there."""
        self._drop(key)

    def refuses(self, key: ModelKey) -> bool:
        """Whether that backend has said that it cannot run the model."""
        return key in self._refused

    def runs(self, key: ModelKey) -> int:
        """How often the model has run in this page; 0 when it is not loaded."""
        entry = self._current().get(key)
        return entry.runs if entry else 0

    def planned_mb(self) -> float:
        """The browser without models and what is planned for those it holds."""
        held = self._current().items()
        return (
            self.baseline_mb
            + self._pinned()[1]
            + sum(planned_mb(entry.bytes, backend=key.backend) for key, entry in held)
        )

    def unload(self, sha256: str) -> None:
        """Release a model on every backend; no error if it is not there."""
        self._page.unload({"model": sha256})
        for key in [key for key in self._entries if key.sha256 == sha256]:
            del self._entries[key]

    def run(
        self,
        key: ModelKey,
        inputs: Sequence[WireTensor],
        outputs: Sequence[str] | None,
        strict: bool,
        deadline: Deadline,
        meanwhile: Callable[[], object] | None = None,
        *,
        as_use: bool = True,
    ) -> Computed:
        """Compute; load first if need be. `meanwhile` is called while the page computes.

        Without `as_use` the model stays as long unused as it was, and as cold.
        """
        header = {**key.header(), "outputs": outputs}
        before = self._entries.get(key)
        used_before = before.last_used if before else None
        load = self.ready(key, strict, deadline)
        try:
            reply, tensors = self._page.ask("run", header, inputs, deadline, meanwhile)
        except NotLoaded:
            self._entries.pop(key, None)
            load = self.ready(key, strict, deadline)
            reply, tensors = self._page.ask("run", header, inputs, deadline, meanwhile)
        entry = self._entries[key]
        entry.last_used = time.time()  # a computation takes its time
        if not as_use and used_before is not None:
            entry.last_used = used_before
        entry.runs += as_use
        return Computed(
            outputs=tensors,
            load=load,
            compute_ms=reply["compute_ms"],
            page_ms=reply["page_ms"],
            transfer_ms=_rest_ms(reply["round_trip_ms"], reply["page_ms"]),
            warm=entry.runs > 1,
        )

    def ready(self, key: ModelKey, strict: bool, deadline: Deadline) -> LoadReport:
        """The model is in the page on a backend that may claim it; loads it if it is not."""
        entry = self._entries.get(key)
        if entry is not None and entry.engine == self._page.engine:
            check_claim(entry.placement, backend=key.backend, strict=strict)
            entry.last_used = time.time()  # whoever asks for it is about to use it
            nodes = entry.placement.nodes
            return LoadReport(key.sha256, key.backend, entry.bytes, nodes, entry.bundle, None, None)
        if key in self._refused:
            kind, why = self._refused[key]
            raise kind(why)
        try:
            report = self._load(key, self._make_room(key), deadline)
        except BrowserError as error:
            self._tell(key, error)
            raise
        self._tell(key, report)
        check_claim(self._entries[key].placement, backend=key.backend, strict=strict)
        return report

    def _tell(self, key: ModelKey, outcome: LoadReport | BrowserError) -> None:
        if key.sha256 != self._hidden:
            self._on_load(key, outcome)

    def _load(self, key: ModelKey, evicted: tuple[str, ...], deadline: Deadline) -> LoadReport:
        self._check_file(key.sha256)
        try:
            reply, _ = self._page.ask("load", key.header(), (), deadline)
            placement = parse_placement(reply["placement"])
            engine = self._page.engine
            entry = _Entry(placement, reply["bundle"], reply["bytes"], engine, time.time())
            self._entries[key] = entry
            check_claim(placement, backend=key.backend, strict=False)
        except (UnsupportedOperation, ModelIncompatible) as error:
            self._refused[key] = type(error), error.message
            self._drop(key)
            raise
        entry.loaded = LoadReport(
            key.sha256,
            key.backend,
            entry.bytes,
            placement.nodes,
            entry.bundle,
            reply["load_ms"],
            reply["fetch_ms"],
            evicted,
        )
        return entry.loaded

    def _make_room(self, key: ModelKey) -> tuple[str, ...]:
        while self._is_short(key) and self.kept.drop_oldest():
            pass
        leaving = self._leaving(key)
        for held in leaving:
            self._drop(held)
        return tuple(held.sha256 for held in leaving)

    def _is_short(self, key: ModelKey) -> bool:
        """Whether something has to go to make room for it."""
        try:
            return bool(self._leaving(key))
        except OutOfMemory:
            return True

    def _leaving(self, key: ModelKey) -> Sequence[ModelKey]:
        """What would have to be unloaded to make room for it."""
        size = self._file(key.sha256).stat().st_size
        pinned, caches_mb = self._pinned()
        resident = [
            Resident(held, planned_mb(entry.bytes, backend=held.backend), entry.last_used)
            for held, entry in self._current().items()
            if held != key and held.sha256 != self._hidden
        ]
        staying_mb = sum(each.planned_mb for each in resident if each.key in pinned)
        return to_unload(
            [each for each in resident if each.key not in pinned],
            incoming_mb=planned_mb(size, backend=key.backend),
            baseline_mb=self.baseline_mb + caches_mb + staying_mb,
            limit_mb=self.limit_mb,
        )

    def _drop(self, key: ModelKey) -> None:
        self._entries.pop(key, None)
        self._page.unload(key.header())

    def _current(self) -> dict[ModelKey, _Entry]:
        """Entries whose engine still lives; may be called from any thread."""
        engine = self._page.engine
        return {key: entry for key, entry in list(self._entries.items()) if entry.engine == engine}

    def _file(self, sha256: str) -> Path:
        try:
            return self._path(sha256)
        except KeyError:
            raise FileUnusable(f"no model file {sha256} is on this machine") from None


def _rest_ms(total_ms: float, part_ms: float | None) -> float | None:
    """What of a time remains beside its part; None if the part is unknown or longer."""
    return None if part_ms is None or part_ms > total_ms else total_ms - part_ms
