"""Shards that are ready together are merged by a Celery chord, not only by the sweep."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from inference.graph.reference import reference
from inference.zoo import micro
from tests.support.stack import RunningStack


def test_a_batch_is_merged_by_its_chord(tmp_path: Path) -> None:
    model = micro.chain(tmp_path / "chain.onnx")
    # The sweep would merge it too: here it does not run for an hour.
    stack = RunningStack(
        tmp_path / "home", browsers="chromium:2", extra_env={"WEBPOOL_SWEEP_S": "3600"}
    )
    stack.manage("migrate", "--verbosity", "0")
    stack.manage("add_model", str(model), "--name", "chain")
    stack.start()
    try:
        x = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
        inputs = {"x": x}
        np.savez(tmp_path / "x.npz", x=x)
        began = time.monotonic()
        report = stack.infer(
            "chain", "--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz"),
            "--strategy", "data", "--shards", "2", "--deadline", "120",
        )  # fmt: skip
        print(f"CHORD merged {time.monotonic() - began:.1f} s after the command began")
        browsers = {shard["browser"] for shard in report["metrics"]["shards"]}
        assert browsers == {"chromium", "chromium-2"}
        with np.load(tmp_path / "y.npz") as got:
            np.testing.assert_allclose(got["y"], reference(model, inputs)["y"], atol=1e-5)
    finally:
        stack.stop()
    assert not stack.wait_gone()
