"""Bodies that are nearly right, through /v1, /v2 and gRPC: each is refused in the door's words, or done."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from browsers.redis import client
from inference import auth
from inference.catalog import registry
from inference.checkpoints.described import Described
from inference.models import ApiKey, GenerationSession, OnnxModel, Run
from inference.runs.options import Door, options_of
from inference.wire.openai.fields import Endpoint, fields_of
from tests.support import decoders, listeners, small_models
from tests.support.asgi import Answered, ask
from tests.support.batches import chain_model
from tests.support.embedding import embedder
from tests.support.odd_bodies import WORDS, binary_requests, edited, forms, written
from tests.support.rpc import listening

T = TypeVar("T")
# The pool has no browser: what is right is refused for that, and for nothing else.
NOBODY = 503


@pytest.fixture(scope="module")
def models(
    database: None, valkey: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    client().flushall()
    folder = tmp_path_factory.mktemp("odd")
    decoders.write(folder)
    listeners.write(folder)
    described = Described(chat_template=decoders.CHAT_TEMPLATE, special=decoders.SPECIAL)
    words = folder / "tokenizer.json"
    registry.add_model(folder / "model.onnx", name="teller", tokenizer=words, described=described)
    listeners.register(str(folder))
    (folder / "told.onnx").write_bytes(small_models.identity("string"))
    registry.add_model(folder / "told.onnx", name="told")
    embedder(tmp_path_factory.mktemp("embedder"))
    name = chain_model(folder, f"chain-{uuid.uuid4().hex[:6]}").name
    _, key = auth.create_key(f"odd-{uuid.uuid4().hex[:6]}")
    yield {"chain": name, "key": key}
    for rows in (OnnxModel, ApiKey):
        rows.objects.all().delete()
    client().flushall()


EXAMPLES = pytest.mark.parametrize(
    "examples", [120, pytest.param(1000, marks=pytest.mark.soak("some are always tried"))]
)


def _each(examples: int, asked: st.SearchStrategy[T], check: Callable[[T], None]) -> None:
    """Check so many of what the strategy makes."""

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(asked)
    def one(example: T) -> None:
        check(example)

    one()


# --- /v1 -------------------------------------------------------------------------------------

_ASKED: dict[Endpoint, list[dict[str, Any]]] = {
    Endpoint.CHAT: [
        {
            "model": "teller",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": "yes"},
            ],
            "stream": True, "stream_options": {"include_usage": True}, "logit_bias": {"5": 1},
            "stop": ["x"], "temperature": 0.5, "seed": 1,
        },
        {
            "model": "teller",
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "7"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "f", "description": "d", "strict": True,
                        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
                    },
                }
            ],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
        {
            "model": "teller",
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "n", "strict": True,
                    "schema": {
                        "type": "object", "properties": {"a": {"type": "integer", "minimum": 1}},
                        "required": ["a"], "additionalProperties": False,
                    },
                },
            },
            "chat_template_kwargs": {"a": 1},
        },
    ],
    Endpoint.COMPLETIONS: [
        {"model": "teller", "prompt": ["hi", [1, 2]], "n": 2, "logprobs": 2, "max_tokens": 4},
        {"model": "reader", "prompt": [1, 2, 3], "echo": True, "stop_token_ids": [1]},
    ],
    Endpoint.EMBEDDINGS: [
        {"model": "embedder", "input": ["a b", "c"], "encoding_format": "base64", "dimensions": 3}
    ],
}  # fmt: skip


def _requests() -> st.SearchStrategy[tuple[Endpoint, bytes, dict[str, str]]]:
    made = []
    for endpoint, documents in _ASKED.items():
        keys = tuple(field.name for field in fields_of(endpoint))
        for right in documents:
            bodies = written(edited(right, keys))
            made.append(
                st.tuples(st.just(endpoint), bodies).map(lambda found: (found[0], *found[1]))
            )
    return st.one_of(made)


def refused_as_openai(answered: Answered) -> None:
    assert 400 <= answered.status < 500 or answered.status == NOBODY, answered.body
    error = answered.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert answered.status != NOBODY or "no browser" in error["message"], answered.body


@EXAMPLES
def test_odd_documents_for_v1(models: dict[str, str], examples: int) -> None:
    def check(asked: tuple[Endpoint, bytes, dict[str, str]]) -> None:
        endpoint, body, headers = asked
        refused_as_openai(ask("POST", endpoint.value, body, headers))

    _each(examples, _requests(), check)


_SOUND, _ = listeners.sound(0.1, 8000, "WAV")
_FORM = {"model": "hearer", "file": _SOUND, "language": "en", "temperature": "0", "seed": "7"}
_FORM_FIELDS = tuple(field.name for field in fields_of(Endpoint.TRANSCRIPTIONS))


@EXAMPLES
def test_odd_forms_for_v1(models: dict[str, str], examples: int) -> None:
    def check(asked: tuple[bytes, dict[str, str]]) -> None:
        refused_as_openai(ask("POST", Endpoint.TRANSCRIPTIONS.value, *asked))

    _each(examples, forms(_FORM, _FORM_FIELDS), check)


# --- /v2 -------------------------------------------------------------------------------------

_OPTIONS = tuple(option.name for option in options_of(Door.V2))
_PARAMETERS = (
    *_OPTIONS, "binary_data_size", "binary_data", "binary_data_output", "classification", "data", "shape",
    "datatype", "name", "parameters", "inputs", "outputs", "id",
)  # fmt: skip
_NUMBERS = {
    "id": "1",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], "parameters": {}}
    ],
    "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    "parameters": {"shards": 1, "timeout": 10_000_000, "browsers": "a"},
}
_TEXTS = {
    "inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}],
    "parameters": {"strict": True},
}


def test_a_refusal_does_not_send_back_a_callers_own_megabyte(models: dict[str, str]) -> None:
    for field in ("name", "datatype", "shape"):
        tensor = {"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
        body = json.dumps({"inputs": [{**tensor, field: [["x"] * 300] * 300}]}).encode()
        answered = ask("POST", "/v2/models/told/infer", body)
        refused_as_v2(answered)
        assert len(answered.body) < 1000, field


def refused_as_v2(answered: Answered) -> None:
    assert 400 <= answered.status < 500 or answered.status == NOBODY, answered.body
    if answered.headers["content-type"] == "application/json":
        told = answered.json()
        assert told["error"] and told["category"]
        assert answered.status != NOBODY or "no browser" in told["error"], answered.body


@EXAMPLES
def test_odd_documents_for_v2(models: dict[str, str], examples: int) -> None:
    def check(asked: tuple[str, tuple[bytes, dict[str, str]]]) -> None:
        name, (body, headers) = asked
        refused_as_v2(ask("POST", f"/v2/models/{name}/infer", body, headers))

    numbers = written(edited(_NUMBERS, _PARAMETERS))
    texts = written(edited(_TEXTS, _PARAMETERS))
    chain, told = st.just(models["chain"]), st.just("told")
    _each(examples, st.one_of(st.tuples(chain, numbers), st.tuples(told, texts)), check)


@EXAMPLES
def test_odd_binary_requests_for_v2(models: dict[str, str], examples: int) -> None:
    def check(asked: tuple[bool, bytes, dict[str, str]]) -> None:
        text, body, headers = asked
        name = "told" if text else models["chain"]
        refused_as_v2(ask("POST", f"/v2/models/{name}/infer", body, headers))

    _each(examples, binary_requests(_PARAMETERS), check)


_PATHS = st.sampled_from((
    "/v2/models/{}", "/v2/models/{}/versions/{}", "/v2/models/{}/versions/{}/infer", "/v2/models/{}/ready",
    "/v2/models/{}/config", "/v2/models/{}/stats", "/v2/models/{}/infer", "/v2/repository/index",
    "/v2/repository/models/{}/load", "/v2/{}", "/v1/models/{}", "/v1/{}", "/v1/models/{}/{}",
))  # fmt: skip


_SEGMENTS = st.one_of(
    WORDS.filter(str.isprintable),
    st.sampled_from(("told", "1", "2", "9" * 5000, "..", "%2e", "a/b")),
)
_VERBS = st.sampled_from(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "ODD"))


@EXAMPLES
def test_odd_addresses(models: dict[str, str], examples: int) -> None:
    def check(asked: tuple[str, str, str, tuple[bytes, dict[str, str]]]) -> None:
        path, word, method, (body, headers) = asked
        answered = ask(method, path.replace("{}", word), body, headers)
        why = answered.body
        unready = b'"ready": false' in why
        nobody = answered.status == NOBODY and (b"no browser" in why or unready)
        assert answered.status < 500 or nobody, why
        if answered.status >= 400 and method != "HEAD" and not unready:
            assert answered.json()["error"]

    _each(examples, st.tuples(_PATHS, _SEGMENTS, _VERBS, written(edited({"ready": True}))), check)


# --- gRPC ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def channel(models: dict[str, str]) -> Iterator[Any]:
    with listening() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made


_SHAPES = st.lists(st.sampled_from((0, 1, 2, 4, -1, 2**31, 2**62, -(2**63))), max_size=40)
_WORDS = WORDS.map(lambda word: word.encode(errors="replace").decode())


@st.composite
def messages(draw: st.DrawFn) -> pb.ModelInferRequest:
    """A right one, in parts."""
    text = draw(st.booleans())
    asked = pb.ModelInferRequest(model_name="told" if text else "@chain")
    kind = "BYTES" if text else "FP32"
    for _ in range(draw(st.sampled_from((1, 1, 1, 0, 2, 40)))):
        tensor = asked.inputs.add()
        tensor.name = draw(st.one_of(st.just("x"), st.just("x"), _WORDS))
        tensor.datatype = draw(
            st.sampled_from((kind, kind, kind, "INT64", "FP16", "BOOL", "", "\u00bd"))
        )
        tensor.shape.extend(draw(st.one_of(st.just([2] if text else [1, 4]), _SHAPES)))
        match draw(st.sampled_from(("raw", "raw", "written", "both", "other", "none"))):
            case "raw":
                asked.raw_input_contents.append(draw(st.one_of(
                    st.just(struct.pack("<4f", 1, 2, 3, 4)), st.binary(max_size=40), st.just(b"\xff" * 16)
                )))  # fmt: skip
            case "written":
                tensor.contents.fp32_contents.extend([float("nan")] * draw(st.integers(0, 5)))
                tensor.contents.bytes_contents.extend([b"\xff"] * draw(st.integers(0, 3)))
            case "both":
                tensor.contents.fp32_contents.extend([1, 2, 3, 4])
                asked.raw_input_contents.append(b"")
            case "other":
                tensor.contents.int_contents.extend([-1] * draw(st.integers(0, 5)))
                tensor.contents.bool_contents.extend([True] * draw(st.integers(0, 5)))
    for where in draw(st.lists(st.sampled_from(("request", "input", "output")), max_size=3)):
        _add_parameter(draw, asked, where)
    asked.id, asked.model_version = draw(_WORDS), draw(st.sampled_from(("", "", "1", "2", "½")))
    return asked


def _add_parameter(draw: st.DrawFn, asked: Any, where: str) -> None:
    holder = asked
    if where == "output":
        holder = asked.outputs.add()
        holder.name = draw(st.one_of(st.just("y"), _WORDS))
    elif where == "input" and asked.inputs:
        holder = asked.inputs[0]
    value = holder.parameters[draw(st.one_of(st.sampled_from(_PARAMETERS), _WORDS))]
    match draw(st.sampled_from(("text", "number", "flag", "none", "real"))):
        case "text":
            value.string_param = draw(_WORDS)
        case "number":
            value.int64_param = draw(st.sampled_from((0, 1, -1, 2**31, 2**63 - 1, -(2**63))))
        case "real":
            value.double_param = draw(st.sampled_from((0.5, 1e308, float("nan"), float("-inf"))))
        case "flag":
            value.bool_param = True


_METHODS = (
    "ModelInfer", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex",
    "ServerMetadata", "ServerReady",
)  # fmt: skip
_RIGHT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@st.composite
def calls(draw: st.DrawFn, chain: str) -> tuple[str, bytes]:
    """A method and its message, which may be broken, or another method's."""
    made = draw(messages())
    made.model_name = chain if made.model_name == "@chain" else made.model_name
    message = made.SerializeToString()
    if draw(st.integers(0, 3)):
        return "ModelInfer", message
    at = draw(st.integers(0, len(message)))
    message = message[:at] + draw(st.binary(max_size=8)) + message[at + draw(st.integers(0, 3)) :]
    return draw(st.sampled_from(_METHODS)), message


@EXAMPLES
def test_odd_messages_over_grpc(models: dict[str, str], channel: Any, examples: int) -> None:
    def check(asked: tuple[str, bytes]) -> None:
        method, message = asked
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        try:
            call(message, metadata=[("authorization", f"Bearer {models['key']}")], timeout=30)
        except grpc.RpcError as error:
            code, why = error.code(), error.details()
            nobody = code == grpc.StatusCode.UNAVAILABLE and "no browser" in why
            assert why and (code in _RIGHT or nobody), (code, why)
        else:
            assert method != "ModelInfer"

    _each(examples, calls(models["chain"]), check)


def test_nothing_was_begun(models: dict[str, str]) -> None:
    assert not Run.objects.exists()
    assert not GenerationSession.objects.exists()
