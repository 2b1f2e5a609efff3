"""Values of every type and shape, to a browser and back; what it does not take is refused.

WebAssembly is enough for that: the other backends are in test_session.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers.core.errors import (
    BrowserError,
    InvalidInput,
    ModelIncompatible,
    OutOfMemory,
    UnsupportedOperation,
)
from browsers.core.failures import Retry
from browsers.core.protocol import WireTensor, pack_strings
from inference.zoo.families import FAMILIES
from inference.zoo.precision import PRECISIONS
from tests.browser.bench import EACH, Bench, assert_close, bench_with, reference, tensor
from tests.support import small_models

NUMBERS = np.random.default_rng(0)
ROWS = NUMBERS.standard_normal((4, 64)).astype(np.float32)


bench = bench_with(EACH, backends={"wasm"})


@pytest.mark.parametrize("dtype", sorted(small_models.ONNX_TYPES))
def test_every_type_passes_both_ways(bench: Bench, dtype: str) -> None:
    match dtype:
        case "string":
            sent = WireTensor("x", dtype, (4,), pack_strings(["a", "", "grüße 😀", "z" * 1000]))
        case "bool":
            sent = tensor("x", np.array([True, False, True]))
        case _ if dtype.startswith("float"):
            sent = tensor("x", np.array([0.5, -1.5, np.inf], dtype=dtype))
        case _:
            limits = np.iinfo(dtype)
            sent = tensor("x", np.array([limits.min, limits.max, 1], dtype=dtype))
    report = bench.session.run(
        model_sha256=bench.put(small_models.identity(dtype)),
        inputs=[sent],
        backend="wasm",
        deadline_s=30,
    )
    (got,) = report.outputs
    assert (got.dtype, got.shape, bytes(got.data)) == (dtype, sent.shape, sent.data)


def test_scalars_empty_tensors_and_changing_shapes(bench: Bench) -> None:
    total = bench.run(small_models.scalar_sum(), a=np.float32(1.5), b=np.float32(2))
    assert_close(total, [np.float32(3.5)])
    for count in (0, 1, 1000, 7):
        x = NUMBERS.standard_normal(count).astype(np.float32)
        assert_close(bench.run(small_models.relu(), x=x), [np.maximum(x, 0)])
    square = small_models.identity("float32", rank=2)
    for shape in ((0, 3), (2, 5)):
        x = np.ones(shape, np.float32)
        assert_close(bench.run(square, x=x), [x])


def test_float64_arithmetic(bench: Bench) -> None:
    model = small_models.double_matmul()
    x = NUMBERS.standard_normal((4, 16))
    report = bench.run(model, x=x)
    assert_close(report, reference(model, x=x))
    assert report.bundle == "ort.wasm"


def test_operators_of_classical_machine_learning(bench: Bench) -> None:
    """As scikit-learn's exporters write them; the bundle that has WebGPU lacks them, another has them."""
    model, x = small_models.scaler(), np.arange(6, dtype=np.float32).reshape(2, 3)
    for backend in ("wasm", None):
        assert_close(bench.run(model, backend, x=x), reference(model, x=x))


def test_large_tensors(bench: Bench) -> None:
    x = NUMBERS.standard_normal(4 << 20).astype(np.float32)
    report = bench.run(small_models.relu(), x=x)
    assert_close(report, [np.maximum(x, 0)])


@pytest.mark.parametrize("bench", ["chromium"], indirect=True)
@pytest.mark.parametrize(
    ("family", "precision", "options"),
    [
        ("llama", "float32", {}),
        ("llama", "int4", {}),
        ("llama", "int4", {"operators": "microsoft"}),
        ("vit", "float32", {}),
    ],
)
def test_transformers_of_the_zoo(
    bench: Bench, family: str, precision: str, options: dict[str, Any], tmp_path: Path
) -> None:
    zoo = FAMILIES[family]
    config = replace(zoo.toy, **options)
    (component,) = zoo.build(tmp_path, precision=PRECISIONS[precision], config=config)
    model, inputs = component.path.read_bytes(), zoo.example_inputs(1, config)
    assert_close(bench.run(model, "wasm", **inputs), reference(model, **inputs))


def test_some_outputs_only(bench: Bench) -> None:
    report = bench.run(small_models.with_cpu_node(), x=ROWS[:, :16].copy(), outputs=["where"])
    assert [output.name for output in report.outputs] == ["where"]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "'x'"),
        ({"x": ROWS, "z": ROWS}, "'z'"),
        ({"x": ROWS.astype(np.int32)}, "tensor\\(int32\\)"),
        ({"x": ROWS[:, :5].copy()}, "Got: 5 Expected: 64"),
        ({"x": ROWS[0]}, "Got: 1 Expected: 2"),
    ],
)
def test_wrong_inputs(bench: Bench, inputs: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        bench.run(small_models.block(), **inputs)


def test_wrong_output_name(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match="nope"):
        bench.run(small_models.block(), x=ROWS, outputs=["nope"])


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (small_models.block()[:-200], ModelIncompatible),
        (b"hello world" * 100, ModelIncompatible),
        (b"", ModelIncompatible),
        (small_models.unknown_operator(), UnsupportedOperation),
    ],
    ids=["truncated", "text", "empty", "unknown operator"],
)
def test_files_that_are_no_models(bench: Bench, content: bytes, error: type[BrowserError]) -> None:
    with pytest.raises(error):
        bench.run(content, x=np.ones(1, np.float32))


def test_a_file_that_one_bundle_alone_refuses_is_for_another_browser(bench: Bench) -> None:
    """Sizes are declared wrongly, which onnxruntime warns of, and WebKit's bundle takes for no model."""
    raw, x = small_models.declared(rows=1), ROWS[:3, :4].copy()
    if bench.kind != "webkitgtk":
        assert_close(bench.run(raw, None, x=x), reference(raw, x=x))
        return
    for _ in range(2):  # asked of the page, then remembered
        with pytest.raises(ModelIncompatible, match="Inferred=3 Declared=1") as caught:
            bench.run(raw, None, x=x)
        assert caught.value.category.retry is Retry.NEVER_HERE


def test_a_model_over_the_limit_needs_another_browser(bench: Bench) -> None:
    with (bench.folder / ("ff" * 32)).open("wb") as sparse:
        sparse.truncate(1_900_000_000)
    with pytest.raises(OutOfMemory, match="over the limit of 3500 MB") as caught:
        bench.session.load("ff" * 32, backend="wasm", deadline_s=60)
    assert caught.value.category.retry is Retry.NEVER_HERE
