"""Files of other tools: skl2onnx (scikit-learn pipelines) and onnxscript (what PyTorch exports with)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript
import pytest
import skl2onnx
from onnxscript import FLOAT, INT64
from onnxscript import opset18 as op
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from inference.graph.batching.batch_axis import Verdict
from inference.graph.files import InvalidModel
from inference.graph.reference import equal, reference
from inference.graph.summary import read_model
from tests.support.shards import assert_shards_equal_whole

PIXELS, KINDS = load_digits(return_X_y=True)
PIXELS = PIXELS[:300].astype(np.float32)
KINDS = KINDS[:300]


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def digits_pipeline() -> Any:
    """Two scalers on halves of the image, PCA, and a network with three dense layers."""
    halves = ColumnTransformer(
        [("top", StandardScaler(), list(range(32))), ("rest", MinMaxScaler(), list(range(32, 64)))]
    )
    network = MLPClassifier((24, 16), max_iter=40, random_state=0)
    return make_pipeline(halves, PCA(20, random_state=0), network)


@pytest.mark.filterwarnings("ignore")  # forty iterations do not converge, and need not
def test_a_scikit_learn_pipeline(tmp_path: Path) -> None:
    fitted = digits_pipeline().fit(PIXELS, KINDS)
    model = skl2onnx.to_onnx(
        fitted,
        initial_types=[("pixels", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset=17,
    )
    path = saved(model, tmp_path)
    summary = read_model(path)
    assert [spec.dtype for spec in summary.outputs] == ["int64", "float32"]
    assert summary.inputs[0].shape == ("pixels_dim0", 64)
    assert summary.batch_axis.verdict == Verdict.PROVED
    some = PIXELS[:7]
    answer = reference(path, {"pixels": some})
    np.testing.assert_array_equal(answer[summary.outputs[0].name], fitted.predict(some))
    assert assert_shards_equal_whole(path, {"pixels": some}, tmp_path / "files") >= 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [RandomForestClassifier, LogisticRegression])
def test_a_classifier_of_samples_is_proved_to_take_each_for_itself(
    kind: Any, tmp_path: Path
) -> None:
    model = skl2onnx.to_onnx(
        kind(random_state=0).fit(PIXELS, KINDS),
        initial_types=[("pixels", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset=17,
    )
    path = saved(model, tmp_path)
    assert read_model(path).batch_axis.verdict == Verdict.PROVED
    whole = reference(path, {"pixels": PIXELS[:9]})
    parts = [reference(path, {"pixels": PIXELS[rows]}) for rows in (slice(0, 1), slice(1, 9))]
    for name, answer in whole.items():
        assert equal(np.concatenate([part[name] for part in parts]), answer)


@pytest.mark.filterwarnings("ignore")
def test_a_gaussian_process(tmp_path: Path) -> None:
    fitted = GaussianProcessRegressor().fit(PIXELS[:40, :8], KINDS[:40])
    model = skl2onnx.to_onnx(fitted, PIXELS[:1, :8], target_opset=17)
    name = model.graph.input[0].name
    assert_shards_equal_whole(saved(model, tmp_path), {name: PIXELS[:5, :8]}, tmp_path / "files")


@pytest.mark.filterwarnings("ignore")
def test_outputs_that_are_dictionaries_are_refused_with_the_remedy(tmp_path: Path) -> None:
    fitted = digits_pipeline().fit(PIXELS, KINDS)
    model = skl2onnx.to_onnx(fitted, PIXELS[:1], target_opset=17)
    with pytest.raises(InvalidModel, match="zipmap=False"):
        read_model(saved(model, tmp_path))


Activation: Any = FLOAT["batch", "steps", 8]  # type: ignore[misc]
local = onnxscript.values.Opset("webpool.tests", 1)


@onnxscript.script(local, default_opset=op)
def gelu(x):
    return x * 0.5 * (1.0 + op.Erf(x / 1.4142135))


@onnxscript.script(local, default_opset=op)
def attention(x, weight, heads):
    """Self-attention with the same weight for query, key and value, shapes computed at run time."""
    projected = op.MatMul(x, weight)
    batch = op.Shape(x, start=0, end=1)
    shape = op.Concat(
        batch, op.Constant(value_ints=[-1]), heads, op.Constant(value_ints=[4]), axis=0
    )
    split = op.Transpose(op.Reshape(projected, shape), perm=[0, 2, 1, 3])
    scores = op.Softmax(op.MatMul(split, op.Transpose(split, perm=[0, 1, 3, 2])), axis=-1)
    mixed = op.Transpose(op.MatMul(scores, split), perm=[0, 2, 1, 3])
    return op.Reshape(mixed, op.Shape(x))


def test_a_script_with_functions_a_loop_and_a_branch(tmp_path: Path) -> None:
    """The model's own functions travel with the shards that call them."""
    random = np.random.default_rng(3)
    first = onnx.numpy_helper.from_array(random.standard_normal((8, 8)).astype(np.float32), "first")
    second = onnx.numpy_helper.from_array(
        random.standard_normal((8, 8)).astype(np.float32), "second"
    )

    @onnxscript.script(default_opset=op)
    def network(x: Activation, turns: INT64) -> Activation:
        heads = op.Constant(value_ints=[2])
        hidden = attention(x, op.Constant(value=first), heads)
        hidden = gelu(op.MatMul(hidden, op.Constant(value=second))) + x
        for _ in range(turns):  # type: ignore[call-overload]
            hidden = op.Tanh(op.MatMul(hidden, op.Constant(value=first)))
        if op.ReduceSum(hidden, keepdims=0) > 0.0:
            result = hidden * 2.0
        else:
            result = hidden + x
        return attention(gelu(result), op.Constant(value=second), heads)

    model = network.to_model_proto()
    assert len(model.functions) == 2
    inputs: dict[str, Any] = {
        "x": random.standard_normal((2, 5, 8)).astype(np.float32),
        "turns": np.array(2, np.int64),
    }
    path = saved(model, tmp_path)
    assert assert_shards_equal_whole(path, inputs, tmp_path / "files") >= 4
