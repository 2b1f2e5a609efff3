"""Memory that a model takes in a browser per byte of its file, by precision of its weights.

A browser of the bench's own for each case, so that nothing of another model is left in it. The peak is that
of the process tree (PSS) from before the load to after two runs, less what the browser took before.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from browsers.drivers import Installation, get_driver
from browsers.session import BrowserSession
from inference.store.tensors import encode_array
from inference.zoo import llama
from inference.zoo.precision import PRECISIONS
from inference.zoo.weights import Seeded
from webpool_site.lab.bench.own_browser import own_browser
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Progress, Row, Table

_KINDS = ("chromium-npm", "chromium", "firefox", "webkitgtk")
# Layers of a width of 1024, so that each file has some 150 MB.
_LAYERS = {"float32": 3, "float16": 6, "int8": 10, "int4": 18, "int4-float16": 20}
_LOOK_EVERY_S = 0.02
_LIMIT_MB = 64 * 1024.0
_DEADLINE_S = 300.0


def measure(pool: Pool | None) -> Iterator[Row | Table | str]:
    """One line per browser and precision, on WebAssembly."""
    lines: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        for precision, layers in _LAYERS.items():
            config = llama.LlamaConfig(layers, 1024, 16, 16, 2816, 1000, 64)
            (graph,) = llama.graphs(config, PRECISIONS[precision], Seeded(5)).values()
            file = graph.save(Path(name) / f"{precision}.onnx")
            with file.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            file = file.rename(file.with_name(sha256))
            for kind in _KINDS:
                if isinstance(get_driver(kind).find(), Installation):
                    yield Progress(f"memory: {precision} in {kind}")
                    lines.append((kind, precision, *_peak(kind, file)))
            file.unlink()
    columns = ("browser", "weights", "file MB", "browser alone MB", "peak MB", "peak per file byte")
    yield Table("memory on WebAssembly, process tree (PSS)", columns, tuple(lines))


def _peak(kind: str, file: Path) -> tuple[float | None, ...]:
    session = own_browser(kind, files=lambda sha256: file, memory_limit_mb=_LIMIT_MB)
    session.start(settings.WEBPOOL_BROWSER_START_S)
    try:
        alone_mb = session.tree_pss_mb()
        with _Highest(session) as highest:
            for _ in range(2):
                session.run(
                    model_sha256=file.name, backend="wasm", deadline_s=_DEADLINE_S,
                    inputs=[
                        encode_array(name, array)
                        for name, array in llama.example_inputs(_SMALL, 1, batch=1, length=8).items()
                    ],
                )  # fmt: skip
    finally:
        session.close(5.0)
    file_mb = file.stat().st_size / 1e6
    peak_mb = highest.mb
    if alone_mb is None or peak_mb is None:
        return file_mb, alone_mb, peak_mb, None
    return file_mb, alone_mb, peak_mb, (peak_mb - alone_mb) / file_mb


_SMALL = llama.LlamaConfig(1, 1024, 16, 16, 2816, 1000, 64)


@dataclasses.dataclass
class _Highest:
    """The most memory that a browser took while the context was open; None: it cannot be measured."""

    session: BrowserSession
    mb: float | None = None

    def __enter__(self) -> _Highest:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            now_mb = self.session.tree_pss_mb()
            if now_mb is not None:
                self.mb = max(self.mb or 0.0, now_mb)
