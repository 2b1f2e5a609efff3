"""What a decoder's ports are told to be, and what is refused."""

from __future__ import annotations

import onnx
import pytest

from inference.core.generation.stages import State, Use
from inference.graph.decoding import found
from inference.graph.decoding.states import NoDecoder
from inference.zoo import decoder, llama
from tests.support import decoder_exports


def test_the_zoos_decoder() -> None:
    read = found.read(decoder.tiny().model())
    whole = read.found.whole
    assert {item.name: item.use for item in whole.inputs} == {
        "input_ids": Use.TOKENS, "attention_mask": Use.MASK, "position_ids": Use.POSITIONS,
        "logit_rows": Use.ROWS,
    }  # fmt: skip
    assert whole.states[1] == State(
        "past_key_values.0.value", "present.0.value", "float32", (1, 2, 0, 16), 2
    )
    assert (read.found.vocabulary, read.context, read.cutter.layers) == (512, 256, 4)
    assert read.found.state_bytes == 4 * 2 * 2 * 16 * 4  # layers, key and value, heads, size, float


def test_a_state_is_told_by_its_node_whatever_its_name() -> None:
    model = decoder_exports.genai()
    renamed(model, {"past_key_values.1.key": "k_1", "present.1.key": "next_1"})
    states = {state.past: state.present for state in found.read(model).found.whole.states}
    assert states["k_1"] == "next_1"


def test_an_input_with_a_name_of_its_own_is_told_by_the_caller() -> None:
    model = decoder_exports.optimum()
    renamed(model, {"input_ids": "tokens"})
    with pytest.raises(NoDecoder, match="nothing is known of its input 'tokens'"):
        found.read(model)
    (tokens,) = (
        item
        for item in found.read(model, {"tokens": "input_ids"}).found.whole.inputs
        if item.use is Use.TOKENS
    )
    assert tokens.name == "tokens"


def test_rows_to_keep_are_set_to_one() -> None:
    model = decoder.tiny().model()
    port = onnx.helper.make_tensor_value_info("num_logits_to_keep", onnx.TensorProto.INT64, [])
    model.graph.input.append(port)
    assert "num_logits_to_keep" not in {i.name for i in found.read(model).found.whole.inputs}


def test_a_model_without_a_cache_is_refused() -> None:
    model = llama.graphs(llama.LlamaConfig())["decoder"].model()
    with pytest.raises(NoDecoder, match="it has no cache: expected inputs such as past_key"):
        found.read(model)


def test_a_state_without_its_other_half_is_refused() -> None:
    model = decoder.tiny().model()
    kept = [item for item in model.graph.output if item.name != "present.2.key"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    with pytest.raises(NoDecoder, match=r"'past_key_values.2.key' has no other half"):
        found.read(model)


def test_a_cache_of_fixed_length_is_refused() -> None:
    model = decoder.tiny().model()
    for item in model.graph.input:
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param == "past":
                dim.dim_value = 7
    with pytest.raises(NoDecoder, match="expected one dimension of any size"):
        found.read(model)


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for item in (*model.graph.input, *model.graph.output):
        item.name = names.get(item.name, item.name)
    for node in model.graph.node:
        for given in (node.input, node.output):
            for at, name in enumerate(given):
                given[at] = names.get(name, name)
