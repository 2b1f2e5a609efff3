"""Folders of Whisper and T5 as Optimum and transformers.js write them, with weights of the zoo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from inference.zoo import listening, t5, whisper
from inference.zoo.builder import FLOAT, INT64, Port
from inference.zoo.layers.net import Net
from inference.zoo.precision import FLOAT32
from inference.zoo.weights import Seeded
from tests.support import decoders
from tests.support.listeners import _T5, _WHISPER, BEGINS, CONTEXT

PARTS = ("key", "value")


def write(folder: Path, family: str, *, merged: bool) -> Path:
    """`family` whisper or t5; `merged`: one file with both steps below onnx/, else one for each."""
    place = folder / "onnx" if merged else folder
    place.mkdir(parents=True, exist_ok=True)
    encoder, first, past = _whisper() if family == "whisper" else _t5()
    onnx.save(encoder, place / "encoder_model.onnx")
    if merged:
        onnx.save(_merged(past, first), place / "decoder_model_merged.onnx")
    else:
        onnx.save(first, place / "decoder_model.onnx")
        onnx.save(past, place / "decoder_with_past_model.onnx")
    decoders.tokenizer().save(str(folder / "tokenizer.json"))
    config = {"model_type": family, "max_target_positions": CONTEXT, "eos_token_id": decoders.END}
    begins = {"decoder_start_token_id": BEGINS[0], "forced_decoder_ids": [[1, BEGINS[1]]]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(begins))
    return folder


def _whisper() -> Sequence[onnx.ModelProto]:
    c, size = _WHISPER, _WHISPER.hidden // _WHISPER.heads
    names = [
        (f"model.decoder.layers.{layer}.encoder_attn.{part[0]}_proj", part == "value")
        for layer in range(c.decoder_layers)
        for part in PARTS
    ]
    past = listening.whisper_graphs(c)["decoder"].model()
    first = _first(names, c.hidden, c.heads, size, c.vocabulary)
    return whisper.graphs(c)["encoder"].model(), first, _passing(past, c.hidden)


def _t5() -> Sequence[onnx.ModelProto]:
    c = _T5
    names = [
        (f"decoder.block.{layer}.layer.1.EncDecAttention.{part[0]}", False)
        for layer in range(c.decoder_layers)
        for part in PARTS
    ]
    past = listening.t5_graphs(c)["decoder"].model()
    first = _first(names, c.hidden, c.heads, c.head_size, c.vocabulary)
    return t5.graphs(c)["encoder"].model(), first, _passing(past, c.hidden)


def _first(
    names: Sequence[tuple[str, bool]], hidden: int, heads: int, size: int, vocabulary: int
) -> onnx.ModelProto:
    """The first step, as far as it matters: keys and values, whose batch is read off the tokens."""
    net = Net("first", FLOAT32, Seeded(0))
    batch = net.op("Slice", net.op("Shape", "input_ids"), net.ints(0), net.ints(1))
    shape = net.op("Concat", batch, net.ints(-1, heads, size), axis=0)
    outputs: list[Port] = []
    for index, (name, bias) in enumerate(names):
        made = net.linear(name, "encoder_hidden_states", hidden, heads * size, bias=bias)
        turned = net.op("Transpose", net.op("Reshape", made, shape), perm=[0, 2, 1, 3])
        present = f"present.{index // 2}.encoder.{PARTS[index % 2]}"
        outputs.append((net.give(turned, present), FLOAT, ["batch", heads, "source", size]))
    logits = net.embedding("other", "input_ids", vocabulary, vocabulary)
    outputs.append((net.give(logits, "logits"), FLOAT, ["batch", "sequence", vocabulary]))
    inputs: list[Port] = [
        ("input_ids", INT64, ["batch", "sequence"]),
        ("encoder_hidden_states", FLOAT, ["batch", "source", hidden]),
    ]
    return net.graph(inputs, outputs).model()


def _passing(past: onnx.ModelProto, hidden: int) -> onnx.ModelProto:
    """With what exports have beside: an input that nothing reads, and outputs that repeat inputs."""
    shape: list[str | int | None] = ["batch", "source", hidden]
    past.graph.input.append(
        helper.make_tensor_value_info("encoder_hidden_states", TensorProto.FLOAT, shape)
    )
    for item in list(past.graph.input):
        if ".encoder." in item.name:
            present = item.name.replace("past_key_values", "present")
            past.graph.node.append(helper.make_node("Identity", [item.name], [present]))
            past.graph.output.add().CopyFrom(item)
            past.graph.output[-1].name = present
    return past


def _merged(past: onnx.ModelProto, first: onnx.ModelProto) -> onnx.ModelProto:
    """One If on `use_cache_branch`, weights outside; what the first step does not make is empty."""
    names = [item.name for item in past.graph.output]
    branches = [
        _branch("then_branch", past.graph, names), _branch("else_branch", first.graph, names)
    ]  # fmt: skip
    chosen = helper.make_node(
        "If", ["use_cache_branch"], names, then_branch=branches[0], else_branch=branches[1]
    )
    weights = {item.name: item for item in (*past.graph.initializer, *first.graph.initializer)}
    made = helper.make_graph(
        [chosen],
        "merged",
        [
            *past.graph.input,
            helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
        ],
        list(past.graph.output),
        list(weights.values()),
    )
    return helper.make_model(
        made, opset_imports=list(past.opset_import), ir_version=past.ir_version
    )


def _branch(name: str, graph: onnx.GraphProto, outputs: Sequence[str]) -> onnx.GraphProto:
    body = onnx.GraphProto(name=name)
    made = {one for node in graph.node for one in node.output}
    for node in graph.node:
        copy = body.node.add()
        copy.CopyFrom(node)
        for names in (copy.input, copy.output):
            names[:] = [f"{name}_{one}" if one in made else one for one in names]
    for output in outputs:
        if output not in made:
            empty = helper.make_tensor("value", TensorProto.FLOAT, [0], np.zeros(0, np.float32))
            body.node.append(helper.make_node("Constant", [], [f"{name}_{output}"], value=empty))
        body.output.append(
            helper.make_tensor_value_info(f"{name}_{output}", TensorProto.FLOAT, None)
        )
    return body
