"""onnxruntime is compiled once for all engines of a page: later ones neither fetch nor compile it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from browsers import probe
from browsers.session.deadline import Deadline
from browsers.session.residents import ModelKey
from tests.browser.bench import DIST, assert_close, reference, started
from tests.support import small_models

ROWS = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)


def test_engines_start_and_compute_when_the_file_is_gone(tmp_path: Path) -> None:
    """In WebKitGTK: others keep what they fetched."""
    runtime = tmp_path / "runtime"
    shutil.copytree(
        DIST, runtime, ignore=shutil.ignore_patterns("*.map", "*.jsep.*", "*.asyncify.*")
    )
    model = small_models.block()
    with started(
        "webkitgtk", tmp_path, memory_limit_mb=3500, backends={"wasm"}, runtime_dir=runtime
    ) as bench:
        for file in runtime.glob("*.wasm"):
            file.unlink()
        trial = bench.session._backends._trial
        outputs, _ = trial.timed(ModelKey.of(probe.sha256(), "wasm"), probe.inputs(), Deadline(60))
        assert probe.largest_error(list(outputs)) <= probe.TOLERANCE
        trial.end()
        bench.session.restart_engine()
        bench.session.probe()
        assert_close(bench.run(model, x=ROWS, dims={"n": 4}), reference(model, x=ROWS))
