"""Each field of OpenAI's requests: taken, or refused with its name; none is ignored."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from jsonschema import Draft4Validator

from inference.errors import InvalidRequest
from inference.runs.option_kinds import Choice, Flag, Kind, Names
from inference.views.openai.transcriptions import fields_of as fields_of_form
from inference.wire.openai.described import request_of, schema_of
from inference.wire.openai.fields import (
    FIELDS,
    Endpoint,
    Field,
    fields_of,
    read_fields,
    table,
    unserved_table,
)
from inference.wire.openai.kinds import (
    Anything,
    Biases,
    Count,
    Form,
    Language,
    Number,
    Only,
    Stops,
    StreamOptions,
    Text,
    Tokens,
    Words,
)
from inference.wire.openai.reading import (
    read_chat,
    read_completion,
    read_embedding,
    read_transcription,
)
from inference.wire.openai.refusals import Refused, error_document

API = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
LEAST: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "hi"},
    Endpoint.EMBEDDINGS: {"model": "m", "input": "hi"},
    Endpoint.TRANSCRIPTIONS: {"model": "m", "file": b"RIFF"},
}
READ = {
    Endpoint.CHAT: read_chat,
    Endpoint.COMPLETIONS: read_completion,
    Endpoint.EMBEDDINGS: read_embedding,
    Endpoint.TRANSCRIPTIONS: read_transcription,
}
BAD: dict[type[Kind], list[Any]] = {
    Text: ["", 7, ["m"]],
    Number: ["1", True, 1e9, -1e9],
    Count: ["1", 1.5, True, 2**64],
    Flag: ["true", 1],
    Choice: ["x", 7],
    Names: [7, [7]],
    Stops: ["", [""], [7], ["a"] * 5, "x" * 1001, {}],
    Tokens: [7, ["a"], [-1], [True], [2**31]],
    Biases: [[], {"a": 1}, {"-1": 1}, {"1": 101}, {"1": True}, {"1": None}],
    StreamOptions: [True, {"include_usage": 1}, {"x": True}, {"include_obfuscation": True}],
    Words: [
        "x",
        [],
        {"messages": []},
        {"a": 1, "add_generation_prompt": False},
        {"bos_token": "<s>"},
    ],
    Language: ["english", "E", "", 7],
    Form: [
        "json",
        {},
        {"type": "xml"},
        {"type": "json_object", "schema": {}},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": 7}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": 1}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "colour": 1}},
    ],
    Only: [{"something": "else"}, 17],
}
EVERY = [pytest.param(e, f, id=f"{e.name}-{f.name}") for e in Endpoint for f in fields_of(e)]


def refusal(endpoint: Endpoint, **fields: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        READ[endpoint]({**LEAST[endpoint], **fields})
    return caught.value


@pytest.mark.parametrize(("endpoint", "field"), EVERY)
def test_a_field_that_cannot_be_is_refused_by_its_name(endpoint: Endpoint, field: Field) -> None:
    if isinstance(field.kind, Anything):
        return  # messages, prompt and input have tests of their own
    for value in BAD[type(field.kind)]:
        error = refusal(endpoint, **{field.name: value})
        assert error.param == field.name, value
        assert str(error).startswith(f"{field.name}: expected {field.kind.expected}, got ")


@pytest.mark.parametrize(("endpoint", "field"), EVERY)
def test_null_is_the_same_as_missing(endpoint: Endpoint, field: Field) -> None:
    document = {**LEAST[endpoint], field.name: None}
    if field.required:
        error = refusal(endpoint, **{field.name: None})
        assert (error.param, error.code) == (field.name, "missing_required_parameter")
    else:
        assert read_fields(document, endpoint) == read_fields(LEAST[endpoint], endpoint)


@pytest.mark.parametrize(
    "field", [f for f in FIELDS if isinstance(f.kind, Only)], ids=lambda f: f.name
)
def test_what_is_not_served_is_taken_only_where_it_asks_for_nothing(field: Field) -> None:
    assert isinstance(field.kind, Only)
    for endpoint in field.endpoints:
        for value in field.kind.harmless:
            READ[endpoint]({**LEAST[endpoint], field.name: value})
        assert refusal(endpoint, **{field.name: "x"}).code == "unsupported_parameter"


@pytest.mark.parametrize("endpoint", Endpoint)
def test_an_unknown_field_is_refused(endpoint: Endpoint) -> None:
    error = refusal(endpoint, temprature=1)
    assert (error.param, error.code) == ("temprature", "unknown_parameter")
    with pytest.raises(Refused, match="expected a JSON object"):
        READ[endpoint]([])


@pytest.mark.parametrize("endpoint", Endpoint)
def test_the_documentation_has_every_field(endpoint: Endpoint) -> None:
    assert table(endpoint) in API
    assert unserved_table(endpoint) in API


_VALUES: Any = (
    True, False, 0, 1, -1, -2, -3, 0.5, 1.5, 2, 5, 10, 10.5, 16, 17, 20, 21, 10_000, 10_001, 2**31 - 1, 2**31,
    -(2**63), -(2**63) - 1, 2**63, "", "a", "en", "engl", "EN", "wasm", "webnn", "float", "none", "medium",
    "x" * 1001, [], ["a"], ["a"] * 5, ["text"], [""], [1], [-1], [1] * 1025, [2**31], ["a", 1], [[]], {},
    {"1": 1}, {"1": 101}, {"1": "a"},
)  # fmt: skip


def test_the_schema_says_what_is_read() -> None:
    """What a field takes its schema allows, and what it refuses it does not, where that can be said."""
    told = []
    for field in FIELDS:
        schema = schema_of(field.kind)
        exact = bool(schema.keys() - {"type"}) or isinstance(field.kind, Flag)
        allowed = Draft4Validator(schema)
        for value in _VALUES:
            try:
                field.kind.read(field.name, value)
                taken = True
            except InvalidRequest:
                taken = False
            if exact or taken:
                assert allowed.is_valid(value) == taken, (field.name, value, schema)
                told.append(taken)
    assert min(told.count(True), told.count(False)) > 500


@pytest.mark.parametrize("endpoint", Endpoint)
def test_the_schema_of_a_request_has_its_fields(endpoint: Endpoint) -> None:
    schema = request_of(endpoint)
    assert schema["required"] == [field.name for field in fields_of(endpoint) if field.required]
    assert schema["properties"].keys() == {field.name for field in fields_of(endpoint)}
    with pytest.raises(Refused, match="unknown field 'zzz'"):
        read_fields({"zzz": 1}, endpoint)
    assert schema["additionalProperties"] is False


def test_a_chat_is_read() -> None:
    said = {**LEAST[Endpoint.CHAT], "messages": [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "refusal": None, "annotations": [], "tool_calls": None},
    ]}  # fmt: skip
    request = read_chat(
        {
            **said, "max_completion_tokens": 5, "temperature": 0, "logit_bias": {"7": -100}, "seed": -3,
            "stop": "x", "logprobs": True, "top_logprobs": 2, "stream": True, "n": 2,
            "stream_options": {"include_usage": True}, "chat_template_kwargs": {"thinks": False},
        }
    )  # fmt: skip
    assert request.messages == (
        {"role": "system", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
    )
    writing, sampling = request.writing, request.writing.sampling
    assert (writing.max_tokens, writing.stop, writing.choices) == (5, ("x",), 2)
    assert (writing.stream, writing.tells_usage, writing.tells_tokens) == (True, True, True)
    assert (sampling.temperature, sampling.seed, sampling.logprobs) == (0.0, -3, 2)
    assert sampling.logit_bias == {7: -100.0}
    assert request.words == {"thinks": False}
    assert read_chat(LEAST[Endpoint.CHAT]).writing.sampling.temperature == 1.0
    seeds = {read_chat(LEAST[Endpoint.CHAT]).writing.sampling.seed for _ in range(3)}
    assert len(seeds) == 3


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        (["hi"], "messages[0]"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": "user", "content": "a"}, {"role": 7, "content": "a"}], "messages[1].role"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0]",
        ),
        ([{"role": "user", "content": "a", "name": "bob"}], "messages[0].name"),
        ([{"role": "assistant", "content": "a", "tool_calls": [{}]}], "messages[0].tool_calls[0]"),
        ([{"role": "user", "content": "a", "tool_calls": [{}]}], "messages[0].tool_calls"),
        ([{"role": "tool", "content": "a"}], "messages[0].tool_call_id"),
        ([{"role": "user", "content": "a", "colour": 1}], "messages[0].colour"),
    ],
)
def test_a_message_that_cannot_be_is_refused_where_it_is(messages: Any, param: str) -> None:
    assert refusal(Endpoint.CHAT, messages=messages).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: Any, param: str) -> None:
    assert refusal(Endpoint.CHAT, **fields).param == param


TOOL: Any = {"type": "function", "function": {"name": "turn", "parameters": {"type": "object"}}}
NAMED: Any = {"type": "function", "function": {"name": "turn"}}


def test_tools_and_their_calls_are_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "turn", "arguments": '{"by": 3}'}}
    request = read_chat({"model": "m", "tools": [TOOL], "tool_choice": NAMED, "messages": [
        {"role": "user", "content": "turn"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]})  # fmt: skip
    _, called, answered = request.messages
    assert called["content"] == ""
    assert called["tool_calls"][0]["function"] == {"name": "turn", "arguments": {"by": 3}}
    assert answered == {"role": "tool", "content": "done", "tool_call_id": "c1"}
    assert request.tools.documents == (TOOL,)
    assert [tool.name for tool in request.tools.callable] == ["turn"]
    assert request.tools.forced
    auto = read_chat({**LEAST[Endpoint.CHAT], "tools": [TOOL], "parallel_tool_calls": False}).tools
    assert (auto.forced, auto.several) == (False, False)
    none = read_chat({**LEAST[Endpoint.CHAT], "tools": [TOOL], "tool_choice": "none"}).tools
    assert not none.callable
    assert not none.documents


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "custom"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 7}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a", "colour": 7}}]}, "tools"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "walk"}}},
            "tool_choice",
        ),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_tools_that_cannot_be_are_refused(fields: Any, param: str) -> None:
    assert refusal(Endpoint.CHAT, **fields).param == param


def test_a_token_has_one_bias() -> None:
    error = refusal(Endpoint.COMPLETIONS, logit_bias={"05": 100, "5": -100})
    assert (error.param, str(error)) == (
        "logit_bias", "logit_bias: expected each token once, got 5 twice",
    )  # fmt: skip
    assert read_completion({**LEAST[Endpoint.COMPLETIONS], "logit_bias": {"05": 100, "6": 1}})


@pytest.mark.parametrize("penalty", [0, 1e-300, 1e-39, 0.009])
def test_a_penalty_that_makes_logits_infinite_is_refused(penalty: float) -> None:
    for endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS):
        assert refusal(endpoint, repetition_penalty=penalty).param == "repetition_penalty"


def test_a_form_is_read_as_a_grammar() -> None:
    def grammar(form: Any) -> Any:
        read = read_chat({**LEAST[Endpoint.CHAT], "response_format": form}).writing.grammar
        return json.loads(read)["grammars"][0]["json_schema"] if read else read

    assert grammar({"type": "text"}) == ""
    assert grammar({"type": "json_object"})["type"] == "object"
    schema = {"type": "integer", "minimum": 3}
    asked = {"name": "a", "schema": schema, "strict": True, "description": "a number"}
    found = grammar({"type": "json_schema", "json_schema": asked})
    assert {name: found[name] for name in schema} == schema
    long = {"name": "a", "schema": {"enum": ["x" * 70_000]}}
    error = refusal(Endpoint.CHAT, response_format={"type": "json_schema", "json_schema": long})
    assert error.param == "response_format"


def test_a_completion_is_read() -> None:
    def prompts(prompt: Any, **fields: Any) -> Any:
        return read_completion({"model": "m", "prompt": prompt, **fields}).prompts

    assert prompts("a") == ("a",)
    assert prompts(["a", "b"], n=8) == ("a", "b")
    assert prompts([1, 2]) == ((1, 2),)
    assert prompts([[1], [2, 3]]) == ((1,), (2, 3))
    assert read_completion({"model": "m", "prompt": "a"}).writing.max_tokens == 16
    told = read_completion({"model": "m", "prompt": "a", "logprobs": 0}).writing
    assert told.tells_tokens
    assert told.sampling.logprobs == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a"] * 17}, "prompt"),
        ({"prompt": ["a"] * 3, "n": 6}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
    ],
)
def test_a_completion_that_cannot_be_is_refused(fields: Any, param: str) -> None:
    assert refusal(Endpoint.COMPLETIONS, **fields).param == param


@pytest.mark.parametrize("given", [[], [1, 2], "", ["a", ""], 7, ["a"] * 2049])
def test_only_texts_are_embedded(given: Any) -> None:
    assert refusal(Endpoint.EMBEDDINGS, input=given).param == "input"


def test_an_error_is_written_as_openai_writes_it() -> None:
    error = refusal(Endpoint.CHAT, temperature=7)
    assert json.loads(json.dumps(error_document(error, str(error)))) == {
        "error": {
            "message": "temperature: expected a number from 0 to 2, got 7",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_value",
        }
    }


def test_a_form_that_came_in_chunks_is_read() -> None:
    """Nothing says its length beforehand."""
    kind = b"multipart/form-data; boundary=x"
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"content-type", kind), (b"transfer-encoding", b"chunked")],
    }  # fmt: skip
    part = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    body = (
        part.format("model", "", "m")
        + part.format("file", '; filename="a.wav"', "RIFF")
        + "--x--\r\n"
    )
    found = fields_of_form(ASGIRequest(scope, io.BytesIO()), body.encode())
    assert found == {"model": "m", "file": b"RIFF"}
