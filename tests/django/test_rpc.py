"""The gRPC port, asked by an unmodified tritonclient: the refusals of /v2/, before a message is read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from django.conf import LazySettings
from tritonclient.utils import InferenceServerException

from inference import auth
from inference.models import ApiKey, OnnxModel, Run, RunState
from tests.support.asgi import application, ask
from tests.support.doors import wait_for
from tests.support.stack import free_port
from webpool_site.web import rpc


@pytest.fixture
def port(asked_model: OnnxModel) -> Iterator[int]:
    """Of a server in a thread of this process, below which is the whole application."""
    loop, found = asyncio.new_event_loop(), free_port()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    begun = asyncio.run_coroutine_threadsafe(rpc.serve(application, "127.0.0.1", found), loop)
    server = begun.result(30)
    yield found
    asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def client(port: int) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as made:
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


def test_a_key_comes_as_metadata_and_has_its_limit(
    client: Any, asked_model: OnnxModel, settings: LazySettings
) -> None:
    settings.WEBPOOL_ANONYMOUS = False
    _, key = auth.create_key("caller", requests_per_minute=1)
    name, given = asked_model.name, inputs_of(asked_model)
    try:
        assert refused(client.infer, name, given)[0] == "UNAUTHENTICATED"
        bad = {"authorization": "Bearer wp_x"}
        assert refused(client.infer, name, given, headers=bad)[0] == "UNAUTHENTICATED"
        mine = {"authorization": f"Bearer {key}"}
        code, why = refused(client.infer, "nosuch", given, headers=mine)
        assert code == "NOT_FOUND", why
        code, why = refused(client.infer, name, given, headers=mine)
        assert (code, "1 requests a minute" in why) == ("RESOURCE_EXHAUSTED", True)
    finally:
        ApiKey.objects.filter(name="caller").delete()


def test_what_is_said_to_come_through_a_proxy_needs_a_key(
    client: Any, asked_model: OnnxModel
) -> None:
    through = {"x-forwarded-for": "10.1.2.3"}
    found = refused(client.infer, asked_model.name, inputs_of(asked_model), headers=through)
    assert found[0] == "UNAUTHENTICATED"


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
