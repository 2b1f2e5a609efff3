"""Graphs without their weights: the same graph, no weight made, small at any size."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference.zoo import bert, clip, llama, whisper
from inference.zoo.families import FAMILIES, shape_only
from inference.zoo.graph import weight_bytes
from inference.zoo.precision import FLOAT16, FLOAT32, INT4, INT4_FLOAT16, PRECISIONS
from inference.zoo.weights import Given, Seeded
from tests.support.zoo import run_model


class Unavailable:
    """Weights that must not be asked for."""

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Any:
        raise AssertionError(f"{name} was made")


def described(model: onnx.ModelProto) -> dict[str, object]:
    return {
        "nodes": list(model.graph.node),
        "ports": [*model.graph.input, *model.graph.output],
        "weights": [(t.name, t.data_type, tuple(t.dims)) for t in model.graph.initializer],
        "metadata": list(model.metadata_props),
        "opsets": list(model.opset_import),
    }


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_an_outline_is_the_graph_without_its_weights(name: str, precision: str) -> None:
    family = FAMILIES[name]
    for graph in family.draw(family.toy, PRECISIONS[precision], Unavailable()).values():
        outline = graph.outline()
        with pytest.raises(AssertionError, match="was made"):
            graph.model()
        role = next(r for r, g in family.draw(family.toy).items() if g.name == graph.name)
        whole = family.draw(family.toy, PRECISIONS[precision], Seeded(0))[role].model()
        assert described(outline) == described(whole)
        assert weight_bytes(outline) == weight_bytes(whole) == graph.weight_bytes
        held = sum(len(t.raw_data) for t in whole.graph.initializer)
        assert weight_bytes(outline) == held


def places(model: onnx.ModelProto) -> list[dict[str, str]]:
    return [
        {item.key: item.value for item in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    ]


@pytest.mark.parametrize(
    ("config", "precision", "gigabytes"),
    [
        # Of the published numbers of parameters: 2 bytes each; in 4 bits 9/16 of a byte, but 2 bytes for
        # the embedding and 161 norms. Rotary tables come on top: 1 MB.
        (llama.LLAMA_2_7B, FLOAT16, 6.738_416 * 2),
        (llama.LLAMA_2_70B, FLOAT16, 68.976_648 * 2),
        (llama.LLAMA_2_70B, INT4_FLOAT16, 68.713_185 * 9 / 16 + 0.263_463 * 2),
    ],
)
def test_large_models_are_outlined(
    config: llama.LlamaConfig, precision: Any, gigabytes: float
) -> None:
    outline = shape_only(config, precision)
    assert outline.ByteSize() < 2_000_000
    assert weight_bytes(outline) / 1e9 == pytest.approx(gigabytes + 0.001, abs=0.0005)
    end = 0
    tensors = [t for t in outline.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    for tensor, place in zip(tensors, places(outline), strict=True):
        assert place["location"] == "weights.bin"
        assert end <= int(place["offset"]) < end + 4096
        end = int(place["offset"]) + int(place["length"])
        size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        assert int(place["length"]) == prod(tensor.dims) * size
    names = {name for node in outline.graph.node for name in node.input}
    assert names >= {tensor.name for tensor in outline.graph.initializer}


def test_a_component_is_outlined_by_its_role() -> None:
    decoder = shape_only(whisper.WHISPER_TINY, role="decoder")
    assert [port.name for port in decoder.graph.input] == [
        "decoder_input_ids",
        "encoder_hidden_states",
    ]
    with pytest.raises(ValueError, match="text_encoder, vision_encoder, similarity; got ''"):
        shape_only(clip.CLIP_BASE_32)
    with pytest.raises(ValueError, match="got 'tail'"):
        shape_only(bert.BERT_BASE, role="tail")
    with pytest.raises(ValueError, match="got int"):
        shape_only(7)


@pytest.mark.parametrize("precision", [FLOAT32, INT4])
def test_many_weights_go_into_a_file_beside(precision: Any, tmp_path: Path) -> None:
    graph = FAMILIES["llama"].draw(FAMILIES["llama"].toy, precision, Seeded(1))["decoder"]
    inside = graph.save(tmp_path / "inside.onnx")
    beside = graph.save(tmp_path / "beside.onnx", inside_bytes=1000)
    assert not (tmp_path / "inside.weights.bin").exists()
    assert beside.stat().st_size < inside.stat().st_size / 2
    inputs: Mapping[str, Any] = FAMILIES["llama"].example_inputs(1)
    np.testing.assert_array_equal(
        run_model(beside, inputs)["logits"], run_model(inside, inputs)["logits"]
    )


def test_a_checkpoint_of_other_sizes_is_refused() -> None:
    weights = bert.random_weights(bert.BertConfig(hidden=16), 0)
    graph = bert.graphs(bert.BertConfig(), weights=Given(weights))["encoder"]
    with pytest.raises(ValueError, match=r"word_embeddings.*\(100, 32\), got \(100, 16\)"):
        graph.model()
