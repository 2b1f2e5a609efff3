"""The gRPC port, asked by an unmodified tritonclient: the refusals of /v2/, before a message is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from django.conf import LazySettings
from tritonclient.utils import InferenceServerException

from inference import auth
from inference.models import OnnxModel, Run, RunState
from tests.support.asgi import application, ask
from tests.support.doors import WithKey, wait_for
from tests.support.rpc import listening
from webpool_site.web import rpc


@pytest.fixture
def port(asked_model: OnnxModel) -> Iterator[int]:
    with listening() as found:
        yield found


@pytest.fixture
def stranger(port: int) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as made:
        yield made


@pytest.fixture
def client(port: int, caller_key: str) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as made:
        made.register_plugin(WithKey(caller_key))
        yield made


def inputs_of(model: OnnxModel) -> list[Any]:
    (taken,) = model.inputs
    given = triton.InferInput(taken["name"], [1, 4], "FP32")
    given.set_data_from_numpy(np.zeros((1, 4), np.float32))
    return [given]


def refused(call: Any, *words: Any, **named: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as raised:
        call(*words, **named)
    return raised.value.status().removeprefix("StatusCode."), raised.value.message()


def test_it_tells_what_http_tells(client: Any, asked_model: OnnxModel) -> None:
    name = asked_model.name
    said = ask("GET", f"/v2/models/{name}").json()
    told = client.get_model_metadata(name, as_json=True)
    assert [port["name"] for port in told["inputs"]] == [port["name"] for port in said["inputs"]]
    assert [int(dim) for dim in told["inputs"][0]["shape"]] == said["inputs"][0]["shape"]
    assert told["platform"] == said["platform"]
    config = client.get_model_config(name, as_json=True)["config"]
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert client.get_server_metadata().name == "webpool"
    assert (client.is_server_live(), client.is_server_ready(), client.is_model_ready(name)) == (
        True,
    ) * 3
    assert [one.name for one in client.get_model_repository_index().models] == [name]
    (statistics,) = client.get_inference_statistics(name).model_stats
    assert (statistics.name, statistics.version) == (name, "1")


def test_what_cannot_be_is_refused_with_the_words_of_http(
    client: Any, asked_model: OnnxModel
) -> None:
    name, given = asked_model.name, inputs_of(asked_model)
    missing = ask("POST", "/v2/models/nosuch/infer", b'{"inputs": []}').json()["error"]
    assert refused(client.infer, "nosuch", given) == ("NOT_FOUND", missing)
    assert refused(client.get_model_metadata, "nosuch")[0] == "NOT_FOUND"
    code, why = refused(client.infer, name, given, model_version="2")
    assert (code, "version 1 only" in why) == ("NOT_FOUND", True)
    code, why = refused(client.infer, name, given, parameters={"shard": 2})
    assert (code, "shard" in why) == ("INVALID_ARGUMENT", True)
    wrong = triton.InferInput(given[0].name(), [1, 4], "INT64")
    wrong.set_data_from_numpy(np.zeros((1, 4), np.int64))
    assert refused(client.infer, name, [wrong])[0] == "INVALID_ARGUMENT"
    outputs = [triton.InferRequestedOutput(asked_model.outputs[0]["name"], class_count=3)]
    code, why = refused(client.infer, name, given, outputs=outputs)
    assert (code, "classification" in why) == ("INVALID_ARGUMENT", True)


def test_callers_of_this_machine_need_a_key_too(stranger: Any, asked_model: OnnxModel) -> None:
    """A proxy of the same user is one of them."""
    name, given = asked_model.name, inputs_of(asked_model)
    for call, words in (
        (stranger.infer, (name, given)),
        (stranger.get_server_metadata, ()),
        (stranger.get_model_metadata, (name,)),
        (stranger.get_model_repository_index, ()),
    ):
        code, why = refused(call, *words)
        assert (code, "create_api_key" in why) == ("UNAUTHENTICATED", True)
    bad = {"authorization": "Bearer wp_x"}
    assert refused(stranger.infer, name, given, headers=bad)[0] == "UNAUTHENTICATED"
    assert (stranger.is_server_live(), stranger.is_server_ready()) == (True, True)


def test_a_key_comes_as_metadata_and_has_its_limit(stranger: Any, asked_model: OnnxModel) -> None:
    row, key = auth.create_key("limited", requests_per_minute=1)
    given, mine = inputs_of(asked_model), {"authorization": f"Bearer {key}"}
    try:
        assert refused(stranger.infer, "nosuch", given, headers=mine)[0] == "NOT_FOUND"
        code, why = refused(stranger.infer, asked_model.name, given, headers=mine)
        assert (code, "1 requests a minute" in why) == ("RESOURCE_EXHAUSTED", True)
    finally:
        row.delete()


def test_production_refuses_what_came_in_the_clear(
    client: Any, asked_model: OnnxModel, settings: LazySettings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    code, why = refused(client.get_server_metadata)
    assert (code, "301" in why) == ("FAILED_PRECONDITION", True)
    over_tls = {"x-forwarded-proto": "https"}
    assert client.get_server_metadata(headers=over_tls).name == "webpool"


@pytest.mark.parametrize("name", ["stats", "CHAIN/versions/1", "CHAIN/ready", "../stats", "a\0b"])
def test_a_name_is_no_part_of_a_path(client: Any, asked_model: OnnxModel, name: str) -> None:
    name = name.replace("CHAIN", asked_model.name)
    assert refused(client.get_model_metadata, name)[0] == "NOT_FOUND"
    assert refused(client.get_model_metadata, asked_model.name, f"1/{name}")[0] == "NOT_FOUND"
    assert refused(client.infer, name, inputs_of(asked_model))[0] == "NOT_FOUND"


def test_who_leaves_ends_the_run(
    client: Any, asked_model: OnnxModel, settings: LazySettings
) -> None:
    settings.WEBPOOL_RUN_DEADLINE_S = 120
    before = set(Run.objects.values_list("pk", flat=True))
    call = client.async_infer(
        asked_model.name, inputs_of(asked_model), callback=lambda result, error: None
    )
    started = wait_for(lambda: Run.objects.exclude(pk__in=before).first())
    call.cancel()
    assert wait_for(lambda: Run.objects.get(pk=started.pk).state == RunState.CANCELLED)


def test_a_run_that_nobody_computes_is_late_as_over_http(
    client: Any, asked_model: OnnxModel
) -> None:
    code, why = refused(client.infer, asked_model.name, inputs_of(asked_model))
    assert (code, "deadline" in why) == ("DEADLINE_EXCEEDED", True)


def test_a_port_that_is_taken_is_said(port: int) -> None:
    with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened on"):
        asyncio.run(rpc.serve(application, "127.0.0.1", port))
