"""Graphs of every kind, cut and whole, on every browser and backend: equal to onnxruntime, or refused.

What a backend must not do is to answer wrongly, or to claim a graph whose heavy operators ran elsewhere.
Where a graph is cut does not depend on the browser: `make test` cuts it once for each backend, `make soak`
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from inference.graph.model import load
from inference.graph.reference import equal, example_inputs, reference
from inference.graph.summary import read_model
from inference.zoo import small
from tests.support import small_models
from tests.support.doors import ask
from tests.support.faults import add
from tests.support.stack import RunningStack

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "convolutions": small.convolutions,
    "recurrent": small.recurrent,
    "many-ports": small.many_ports,
    "control-flow": small.control_flow,
    "odd-tensors": small.odd_tensors,
}
# npm's headless Chromium is another build of Chromium; only WebNN is its own.
ALIKE = {("chromium-npm", "wasm"), ("chromium-npm", "webgpu")}
# A refusal names the reason; anything else that is not an answer is a failure.
REFUSALS = ("cannot run it", "no browser can take shard", "Static", "static", "not supported")


def check(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(got) == set(expected)
    for name, wanted in expected.items():
        found = got[name]
        if wanted.dtype == object:
            found = np.array([item.decode() for item in found.ravel()], object).reshape(found.shape)
        assert equal(found, wanted), name


_CUT = pytest.mark.soak("cut in one browser of each backend already")


@pytest.mark.parametrize("everywhere", [False, pytest.param(True, marks=_CUT)])
@pytest.mark.parametrize("kind", BUILDERS)
def test_a_graph_on_every_browser_and_backend(
    stack: RunningStack,
    client: triton.InferenceServerClient,
    tmp_path: Path,
    kind: str,
    everywhere: bool,
) -> None:
    """Whole on each of them; cut, `everywhere` or in the first browser of each backend."""
    path = BUILDERS[kind](tmp_path / f"{kind}.onnx")
    summary = read_model(path)
    inputs = example_inputs(load(path), summary.inputs, seed=3)
    expected = reference(path, inputs)
    name = f"{kind}-everywhere" if everywhere else kind
    add(stack, path, name)
    answered: list[tuple[str, str, int]] = []
    for row in stack.browser_rows():
        for backend in row["backends"]:
            if not backend["probe_ok"] or (row["kind"], backend["name"]) in ALIKE:
                continue
            first = backend["name"] not in {taken for _, taken, _ in answered}
            cuts = {1, min(3, summary.max_shards)} if first or everywhere else {1}
            for shards in sorted(cuts):
                where = {"browsers": row["id"], "platform": backend["name"]}
                strategy = {"strategy": "layer", "shards": shards} if shards > 1 else {}
                try:
                    got = ask(client, name, inputs, **where, **strategy)
                except InferenceServerException as refusal:
                    assert backend["name"] != "wasm", f"{where}: {refusal}"
                    assert any(reason in str(refusal) for reason in REFUSALS), refusal
                    continue
                check(got, expected)
                answered.append((row["id"], backend["name"], shards))
    browsers = {row["id"] for row in stack.browser_rows() if (row["kind"], "wasm") not in ALIKE}
    assert {browser for browser, backend, _ in answered if backend == "wasm"} == browsers
    if kind in ("convolutions", "many-ports"):  # what every backend can run
        assert {"wasm", "webgpu", "webnn"} == {backend for _, backend, _ in answered}


def test_dynamic_axes_take_other_sizes_without_another_registration(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    path = small.mlp(tmp_path / "mlp.onnx")
    add(stack, path, "mlp-sizes")
    (port,) = read_model(path).inputs
    for rows in (1, 5, 17):
        shape = [rows, *(int(size) for size in port.shape[1:])]
        inputs = {port.name: np.random.default_rng(rows).standard_normal(shape).astype(np.float32)}
        check(ask(client, "mlp-sizes", inputs, strategy="layer", shards=2), reference(path, inputs))


def test_a_weight_that_is_an_input_is_given_where_it_was_registered_so(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    path = tmp_path / "scaled.onnx"
    path.write_bytes(small_models.scaled())
    stack.manage("add_model", str(path), "--name", "scaled", "--override", "k")
    inputs = {"x": np.ones((1, 4), np.float32), "k": np.array(3, np.float32)}
    for way in ({}, {"strategy": "layer", "shards": 2}):
        check(ask(client, "scaled", inputs, **way), reference(path, inputs))
    weights = {**inputs, "w": np.eye(4, dtype=np.float32)}
    with pytest.raises(InferenceServerException, match="'w' has its value in the model's file"):
        ask(client, "scaled", weights)


def test_cut_and_uncut_agree_on_wasm_in_the_same_browser(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    path = small.convolutions(tmp_path / "conv.onnx")
    add(stack, path, "conv-same")
    summary = read_model(path)
    inputs = example_inputs(load(path), summary.inputs, seed=5)
    for row in stack.browser_rows():
        where = {"browsers": row["id"], "platform": "wasm"}
        whole = ask(client, "conv-same", inputs, **where)
        cut = ask(client, "conv-same", inputs, **where, strategy="layer", shards=2)
        for name, array in whole.items():
            np.testing.assert_allclose(cut[name], array, rtol=0, atol=1e-6, err_msg=str(row["id"]))
