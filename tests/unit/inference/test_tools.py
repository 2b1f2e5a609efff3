"""Calls of tools, found in texts as they come, and texts that are held to them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.asked import Asked, Ending
from inference.core.generation.sampled import Sampling, TopLogits
from inference.core.generation.stages import Decoder, Stage
from inference.core.generation.wording.tools import Tool, ToolCalls, ToolForm, form_of, grammar_of
from inference.core.generation.writing import Writer
from inference.generation.guide import SandboxedGuide
from tests.support import decoders

HERMES, LLAMA = ToolForm.HERMES, ToolForm.LLAMA
TURN = Tool(
    "turn",
    {
        "$defs": {"Side": {"enum": ["left", "right"]}},
        "type": "object",
        "properties": {"side": {"$ref": "#/$defs/Side"}, "by": {"type": "integer", "maximum": 9}},
        "required": ["side"],
        "additionalProperties": False,
    },
)
HALT = Tool("halt", {"type": "object", "properties": {}, "additionalProperties": False})
ONE = '<tool_call>\n{"name": "turn", "arguments": {"side": "left"}}\n</tool_call>'
TWO = '<tool_call>{"name": "halt", "arguments": {}}</tool_call>'
LEFT, STOP = ("turn", '{"side": "left"}'), ("halt", "{}")


@pytest.mark.parametrize(
    ("form", "text", "words", "calls"),
    [
        (HERMES, "no call < of <tool at all ", "no call < of <tool at all ", []),
        (HERMES, f"I turn.\n{ONE}\n", "I turn.", [LEFT]),
        (HERMES, f"{ONE}\n{TWO}", "", [LEFT, STOP]),
        (HERMES, ONE.removesuffix("</tool_call>"), "", [LEFT]),
        (HERMES, "<tool_call>{broken}</tool_call> x", "<tool_call>{broken}</tool_call> x", []),
        (HERMES, TWO.replace("halt", "fly"), TWO.replace("halt", "fly"), []),
        (HERMES, '<tool_call>{"name": "turn", "arg', '<tool_call>{"name": "turn", "arg', []),
        (LLAMA, ' {"name": "turn", "parameters": {"side": "left"}}', "", [LEFT]),
        (LLAMA, '{"name": "halt", "parameters": {}}; {"name": "halt", "parameters": {}}', "", [STOP, STOP]),
        (LLAMA, '{"name": "fly", "parameters": {}}', '{"name": "fly", "parameters": {}}', []),
        (LLAMA, "{not JSON", "{not JSON", []),
        (LLAMA, 'Well: {"name": "halt"}', 'Well: {"name": "halt"}', []),
    ],
)  # fmt: skip
@given(data=st.data())
def test_calls_are_found_however_the_text_is_cut(
    form: ToolForm, text: str, words: str, calls: Any, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    found = ToolCalls(form, ["turn", "halt"])
    pieces = [found.add(text[a:b]) for a, b in itertools.pairwise(cuts)] + [found.end()]
    told = [call for _, some in pieces for call in some]
    assert "".join(piece for piece, _ in pieces) == words
    assert [(call.name, call.arguments) for call in told] == calls
    assert [call.index for call in told] == list(range(len(calls)))


def test_where_one_call_is_allowed_others_are_not_told() -> None:
    found = ToolCalls(HERMES, ["turn", "halt"], several=False)
    _, calls = found.add(f"{ONE}{TWO}")
    assert [call.name for call in calls] == ["turn"]


def test_the_form_is_that_of_the_template() -> None:
    assert form_of("{% if tools %}<tool_call>{% endif %}") is HERMES
    assert form_of("{% if tools %}Environment: ipython{% endif %}") is LLAMA
    assert form_of("{% if tools %}<tool_call><function=x>{% endif %}") is None
    assert form_of("{% if tools %}[AVAILABLE_TOOLS]{% endif %}") is None
    assert form_of(decoders.CHAT_TEMPLATE) is None


@pytest.mark.parametrize("form", [HERMES, LLAMA])
@pytest.mark.parametrize("forced", [True, False])
def test_random_logits_call_tools_rightly_where_they_are_held_to_it(
    form: ToolForm, forced: bool, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = decoders.tokenizer()
    tokenizer.save(str(path))
    decoder = Decoder(
        "x", 1, decoders.VOCABULARY, 9999, (decoders.END,), "", {}, 1, Stage((), (), (), "logits")
    )
    grammar = grammar_of(form, [TURN, HALT], forced=forced, several=False)
    writer = Writer(
        Asked((1,), 2000, Sampling(temperature=1.0, seed=1), grammar=grammar),
        context=9999, vocabulary=decoders.VOCABULARY, stop_tokens=(decoders.END,),
        guide=SandboxedGuide(path, decoder, grammar),
    )  # fmt: skip
    begins = tokenizer.encode("<tool_call>" if form is HERMES else "{").ids
    rows, ending = np.random.default_rng(3), None
    while ending is None:
        row = rows.standard_normal(decoders.VOCABULARY).astype(np.float32)
        if len(writer.written) < len(begins):  # it begins a call of its own accord
            row[begins[len(writer.written)]] += 99
        ending = writer.write(len(writer.written), [TopLogits.of_row(row)]).ending
        text = tokenizer.decode(writer.written)
        if not forced and form is HERMES and text.endswith("</tool_call>"):
            break
    found = ToolCalls(form, ["turn", "halt"])
    told = [found.add(text), found.end()]
    (call,) = [call for _, some in told for call in some]
    assert forced is False or ending is Ending.STOP
    arguments = json.loads(call.arguments)
    assert arguments == {} if call.name == "halt" else arguments["side"] in ("left", "right")
