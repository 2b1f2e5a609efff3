"""ONNX's own tests of single operators over every backend: onnxruntime's answer, or a clear refusal.

`make test` asks a seeded sample, each of one backend; `make soak` asks all, of every backend.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from inference.graph.reference import equal
from tests.support import onnx_nodes
from tests.support.doors import ask, upload
from tests.support.stack import RunningStack

SAMPLE, SEED = 150, 11
BACKENDS = ("wasm", "webgpu", "webnn")
AT_ONCE = 4


def test_a_sample_of_operators_is_answered_as_onnxruntime_does_or_refused(
    stack: RunningStack, tmp_path: Path
) -> None:
    draw = random.Random(SEED)
    chosen = draw.sample(onnx_nodes.names(), 2 * SAMPLE)  # some are no cases
    nodes = [node for name in chosen if (node := onnx_nodes.node(name))][:SAMPLE]
    assert len(nodes) == SAMPLE
    asked = [(node, [draw.choice(BACKENDS)]) for node in nodes]
    report(asked_of(stack, tmp_path, asked))


@pytest.mark.soak("all operators on all backends: most of an hour")
def test_every_operator_is_answered_as_onnxruntime_does_or_refused(
    stack: RunningStack, tmp_path: Path
) -> None:
    nodes = (node for name in onnx_nodes.names() if (node := onnx_nodes.node(name)))
    report(asked_of(stack, tmp_path, [(node, list(BACKENDS)) for node in nodes]))


def asked_of(
    stack: RunningStack, folder: Path, asked: Iterable[tuple[onnx_nodes.Node, list[str]]]
) -> list[tuple[str, str]]:
    """What became of each: "right", "refused …", or what must not be."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        told = threads.map(lambda one: list(outcomes(stack, folder, *one)), asked)
        return [outcome for each in told for outcome in each]


def outcomes(
    stack: RunningStack, folder: Path, node: onnx_nodes.Node, backends: list[str]
) -> Iterable[tuple[str, str]]:
    path = folder / f"{node.name}.onnx"
    onnx.save(node.model, path)
    name = f"node-{node.name.replace('_', '-')}"
    registered = upload(stack, path, name)
    path.unlink()
    if registered.status != 201:
        yield node.name, f"{_kind(registered.status)} at registration: {registered.body!r:.300}"
        return
    if any(np_to_triton_dtype(array.dtype) is None for array in node.inputs.values()):
        yield node.name, "refused: its inputs cannot be sent in this test's protocol"
        return
    with triton.InferenceServerClient(
        f"127.0.0.1:{stack.port}", connection_timeout=180, network_timeout=180
    ) as client:
        for backend in backends:
            yield f"{node.name} on {backend}", _asked(client, name, node, backend)


def _asked(
    client: triton.InferenceServerClient, name: str, node: onnx_nodes.Node, backend: str
) -> str:
    try:
        got = ask(client, name, node.inputs, platform=backend)
    except InferenceServerException as refusal:
        return f"{_kind(int(refusal.status() or 0))}: {refusal}"
    for output, wanted in node.outputs.items():
        found = got[output]
        if wanted.dtype == object:
            words = [item.decode() for item in found.ravel()]
            found = np.array(words, object).reshape(found.shape)
        if not equal(found, wanted):
            return f"WRONG {output}: {found!r:.200}, expected {wanted!r:.200}"
    return "right"


def _kind(status: int) -> str:
    return "refused" if 400 <= status < 500 else f"FAILED with {status}"


def report(told: list[tuple[str, str]]) -> None:
    bad = [f"{name}: {outcome}" for name, outcome in told if outcome[:5] in ("WRONG", "FAILE")]
    right = sum(outcome == "right" for _, outcome in told)
    print(f"NODES {right} right, {len(told) - right - len(bad)} refused, {len(bad)} bad")
    assert not bad, "\n".join(bad)
    assert right > len(told) // 2
