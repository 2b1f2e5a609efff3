"""Shards that are ready together are merged by a Celery chord, not only by the sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.graph.reference import reference
from inference.zoo import micro
from tests.support.ensembles import diamond, in_order, question
from tests.support.stack import RunningStack

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def unswept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Two browsers and a sweep, which would merge too, that does not run for an hour."""
    home = tmp_path_factory.mktemp("unswept")
    stack = RunningStack(
        home, browsers="chromium:2", backends="wasm", extra_env={"WEBPOOL_SWEEP_S": "3600"}
    )
    stack.migrate()
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()
    assert not stack.wait_gone()


def answer(
    stack: RunningStack, model: str, inputs: Mapping[str, Array], folder: Path, *options: str
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The metrics and the outputs of one run, which nothing but its chord can finish before its deadline."""
    np.savez(folder / "x.npz", **inputs)  # type: ignore[arg-type]
    files = ["--input", str(folder / "x.npz"), "--output", str(folder / "y.npz")]
    began = time.monotonic()
    report = stack.infer(model, *files, "--deadline", "120", *options)
    print(f"CHORD merged {time.monotonic() - began:.1f} s after the command began")
    with np.load(folder / "y.npz") as got:
        return report["metrics"], {name: got[name] for name in got.files}


def test_a_batch_is_merged_by_its_chord(unswept: RunningStack, tmp_path: Path) -> None:
    model = micro.chain(tmp_path / "chain.onnx")
    unswept.manage("add_model", str(model), "--name", "chain")
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)}
    options = ("--strategy", "data", "--shards", "2")
    metrics, got = answer(unswept, "chain", inputs, tmp_path, *options)
    assert {shard["browser"] for shard in metrics["shards"]} == {"chromium", "chromium-2"}
    np.testing.assert_allclose(got["y"], reference(model, inputs)["y"], atol=1e-5)


def test_what_waits_for_several_components_comes_by_their_chord(
    unswept: RunningStack, tmp_path: Path
) -> None:
    manifest = diamond(tmp_path / "clip")
    unswept.manage("add_model", str(manifest))
    for seed in range(3):
        metrics, got = answer(unswept, "clip", question(seed), tmp_path)
        encoders = {shard["browser"] for shard in metrics["shards"][:2]}
        assert encoders == {"chromium", "chromium-2"}
        expected = in_order(manifest, question(seed))["score"]
        np.testing.assert_allclose(got["score"], expected, atol=1e-5)
