"""A toy that embeds text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from tokenizers import Tokenizer, models, pre_tokenizers

from inference.catalog.registry import add_model
from inference.models import OnnxModel


def embedder(folder: Path, name: str = "embedder") -> OnnxModel:
    """Looks up a vector of 3 numbers for each of 4 words, and adds those of a text up."""
    table = onnx.numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "table")
    axes = onnx.numpy_helper.from_array(np.array([1], np.int64), "axes")
    graph = h.make_graph(
        [
            h.make_node("Gather", ["table", "input_ids"], ["words"]),
            h.make_node("ReduceSum", ["words", "axes"], ["vector"], keepdims=0),
        ],
        "g",
        [h.make_tensor_value_info("input_ids", T.INT64, ["texts", "words"])],
        [h.make_tensor_value_info("vector", T.FLOAT, ["texts", 3])],
        [table, axes],
    )
    path = folder / f"{name}.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[PAD]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.enable_truncation(5)
    words.save(str(folder / "tokenizer.json"))
    return add_model(path, name=name, tokenizer=folder / "tokenizer.json")
