"""Weights that a file lists as inputs: fixed, or given with every request, as it was registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from inference.catalog import registry
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.runs.inputs import from_python, prepare
from inference.store.files import path_of
from inference.views.open_inference import configuration, metadata
from tests.support import small_models

X, K = np.ones((1, 4), np.float32), np.array(3, np.float32)


@pytest.fixture
def file(database: None, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "scaled.onnx"
    path.write_bytes(small_models.scaled())
    yield path
    OnnxModel.objects.all().delete()


def test_its_file_holds_no_value_for_it(file: Path) -> None:
    model = registry.add_model(file, name="scaled", overrides=["k"])
    session = onnxruntime.InferenceSession(path_of(model.sha256))
    assert [port.name for port in session.get_inputs()] == ["x", "k"]
    expected = onnxruntime.InferenceSession(file).run(None, {"x": X, "k": K})
    np.testing.assert_array_equal(session.run(None, {"x": X, "k": K}), expected)
    tensors = from_python(model, {"x": X, "k": K}).tensors
    assert [tensor.name for tensor in prepare(model, tensors).tensors] == ["x", "k"]
    with pytest.raises(InvalidRequest, match="missing input 'k'"):
        prepare(model, from_python(model, {"x": X}).tensors)


def test_one_that_stays_in_the_file_is_not_offered_and_cannot_be_given(file: Path) -> None:
    model = registry.add_model(file, name="scaled")
    offered = metadata(model)["inputs"], configuration(model)["input"]
    assert [[port["name"] for port in ports] for ports in offered] == [["x"], ["x"]]
    with pytest.raises(InvalidRequest, match=r"input 'k' has its value in the .*--override k"):
        from_python(model, {"x": X, "k": K})


def test_what_is_no_such_weight_is_named(file: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"'h' is no weight .* expected some of 'w', 'k'"):
        registry.add_model(file, name="scaled", overrides=["k", "h"])
    assert not OnnxModel.objects.exists()
