"""A started session, the files it serves, and how its answers are checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from browsers.core.protocol import WireTensor
from browsers.drivers import Driver, LaunchOptions, Missing, get_driver
from browsers.session import BrowserSession, RunReport, SessionEvent
from browsers.session.backends import BACKENDS

KINDS = ("chromium", "chromium-npm", "firefox", "webkitgtk")
# npm's headless Chromium is another build of Chromium; tests of eviction, relief and faults run it.
EACH = [
    pytest.param(kind, marks=pytest.mark.soak("as chromium")) if kind == "chromium-npm" else kind
    for kind in KINDS
]
OFFERS = {
    "chromium": {"wasm", "webgpu"},
    "chromium-npm": {"wasm", "webgpu", "webnn"},
    "firefox": {"wasm", "webgpu"},
    "webkitgtk": {"wasm"},
}
DIST = Path(__file__).parents[2] / "node_modules" / "onnxruntime-web" / "dist"


def tried_in(*kinds: str) -> list[Any]:
    """Each kind of browser; `make test` tries these alone: what is tested is our own part, no browser's."""
    other = pytest.mark.soak("it does not depend on the browser")
    return [kind if kind in kinds else pytest.param(kind, marks=other) for kind in KINDS]


def bench_with(kinds: list[Any], **options: Any) -> Any:
    """A module's fixture: a started session with each of those browsers, for all the module's tests."""

    @pytest.fixture(scope="module", params=kinds)
    def bench(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Bench]:
        kind: str = request.param
        with started(kind, tmp_path_factory.mktemp(kind), memory_limit_mb=3500, **options) as made:
            yield made

    return bench


def driver_or_skip(kind: str) -> Driver:
    """The driver of an installed kind; in CI a missing browser is a failure, not a skip."""
    driver = get_driver(kind)
    found = driver.find()
    if isinstance(found, Missing):
        message = f"{kind}: {found.reason}; {found.remedy}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return driver


@dataclass
class Bench:
    """A started session, the files it serves and the events it reported."""

    kind: str
    session: BrowserSession
    folder: Path
    events: list[SessionEvent] = field(default_factory=list)

    def told(self) -> list[str]:
        """The names of the events since this was asked last."""
        names = [event.name for event in self.events]
        self.events.clear()
        return names

    def put(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        (self.folder / name).write_bytes(content)
        return name

    def run(self, model: bytes, backend: str | None = "wasm", **given: Any) -> RunReport:
        """Run a model; keyword arguments that are arrays are its inputs."""
        arrays = {name: given.pop(name) for name in list(given) if _is_input(given[name])}
        inputs = [tensor(name, array) for name, array in arrays.items()]
        given.setdefault("deadline_s", 120)
        return self.session.run(
            model_sha256=self.put(model), inputs=inputs, backend=backend, **given
        )

    def healthy(self) -> list[str]:
        assert self.session.facts is not None
        return [backend.name for backend in self.session.facts.healthy]


@contextlib.contextmanager
def started(
    kind: str,
    folder: Path,
    *,
    memory_limit_mb: float,
    proofs: Any = None,
    backends: Collection[str] = BACKENDS,
    runtime_dir: Path = DIST,
) -> Iterator[Bench]:
    """A session with a browser of this kind, of which nothing is left afterwards.

    With WebAssembly as its only backend it starts in half the time.
    """
    driver = driver_or_skip(kind)
    files = folder / "files"
    files.mkdir()

    def path(sha256: str) -> Path:
        if not (files / sha256).exists():
            raise KeyError(sha256)
        return files / sha256

    events: list[SessionEvent] = []
    session = BrowserSession(
        browser_id=kind,
        driver=driver,
        launch=LaunchOptions(profile_dir=folder / "profile", log_path=folder / "driver.log"),
        files=path,
        runtime_dir=runtime_dir,
        threads=2,
        memory_limit_mb=memory_limit_mb,
        on_event=events.append,
        proofs=proofs,
        backends=backends,
    )
    session.start(240)
    processes = session.browser.processes() if session.browser else []
    yield Bench(kind, session, files, events)
    report = session.close(10)
    assert report is not None
    assert report.left == ()
    assert not [each for each in processes if each.is_running()]


def _is_input(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def tensor(name: str, array: Any) -> WireTensor:
    array = np.asarray(array)
    return WireTensor(name, str(array.dtype), array.shape, array.tobytes())


def values(wire: WireTensor) -> NDArray[Any]:
    return np.frombuffer(wire.data, dtype=wire.dtype).reshape(wire.shape)


def reference(model: bytes, **inputs: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def assert_close(report: RunReport, expected: list[Any]) -> None:
    for got, wanted in zip(report.outputs, expected, strict=True):
        assert (got.dtype, got.shape) == (str(wanted.dtype), wanted.shape)
        if wanted.dtype.kind == "f":
            tolerance = 1e-4 * max(1.0, float(np.abs(wanted).max(initial=0)))
            np.testing.assert_allclose(values(got), wanted, rtol=0, atol=tolerance)
        else:
            np.testing.assert_array_equal(values(got), wanted)
