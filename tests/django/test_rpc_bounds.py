"""What a stranger, or a caller who is slow, may take of the gRPC port: raw calls, raw sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from django.conf import LazySettings
from tritonclient.grpc import service_pb2 as pb

from inference import auth
from inference.models import OnnxModel
from tests.support.rpc import listening

METHODS = {
    "ModelReady": pb.ModelReadyResponse,
    "ServerMetadata": pb.ServerMetadataResponse,
    "ModelMetadata": pb.ModelMetadataResponse,
    "ModelConfig": pb.ModelConfigResponse,
    "ModelStatistics": pb.ModelStatisticsResponse,
    "RepositoryIndex": pb.RepositoryIndexResponse,
    "ModelInfer": pb.ModelInferResponse,
}
READ_S = 1.0
CONNECTIONS = 4


@pytest.fixture
def port(asked_model: OnnxModel, settings: LazySettings) -> Iterator[int]:
    settings.WEBPOOL_READ_S, settings.WEBPOOL_MAX_CONNECTIONS = READ_S, CONNECTIONS
    with listening() as found:
        yield found


@pytest.fixture
def channel(port: int) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made


@pytest.fixture
def said(caller_key: str) -> Any:
    return (("authorization", f"Bearer {caller_key}"),)


class Call:
    """Of one method, whose message is sent when it is told to be, or never."""

    def __init__(self, channel: Any, method: str, said: Any = ()) -> None:
        self._go = threading.Event()
        self._sent: list[Any] = []
        asked = channel.stream_unary(
            f"/inference.GRPCInferenceService/{method}",
            request_serializer=lambda message: getattr(
                message, "SerializeToString", lambda: message
            )(),
            response_deserializer=METHODS[method].FromString,
        )
        self.future = asked.future(self._messages(), metadata=said, timeout=30)

    def _messages(self) -> Iterator[Any]:
        self._go.wait(30)
        yield from self._sent

    def send(self, *messages: Any) -> Any:
        self._sent += messages
        self._go.set()
        return self

    def refused(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as raised:
            self.future.result()
        self._go.set()
        return raised.value.code(), raised.value.details()


@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_is_refused_before_a_message_came(channel: Any, method: str) -> None:
    code, why = Call(channel, method).refused()
    assert (code, "API key" in why) == (grpc.StatusCode.UNAUTHENTICATED, True)


def test_strangers_who_send_nothing_hold_no_call(channel: Any, said: Any) -> None:
    strangers = [Call(channel, "ModelInfer") for _ in range(CONNECTIONS * 5)]
    for stranger in strangers:
        assert stranger.refused()[0] in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
    index = Call(channel, "RepositoryIndex", said).send(pb.RepositoryIndexRequest())
    assert len(index.future.result().models) == 1


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelInfer"])
def test_who_is_known_has_a_while_to_send_the_message(channel: Any, said: Any, method: str) -> None:
    begun = time.monotonic()
    code, why = Call(channel, method, said).refused()
    assert (code, "WEBPOOL_READ_S" in why) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
    assert READ_S * 0.9 < time.monotonic() - begun < 20


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelInfer"])
def test_a_call_without_a_message_is_invalid(channel: Any, said: Any, method: str) -> None:
    code, why = Call(channel, method, said).send().refused()
    assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "expected a message, got none")


def test_what_is_no_message_is_invalid(channel: Any, said: Any) -> None:
    code, why = Call(channel, "ModelMetadata", said).send(b"\xff\xff").refused()
    assert (code, "other bytes" in why) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_messages_without_tensors_are_small(channel: Any, said: Any) -> None:
    long = pb.ModelMetadataRequest(name="a" * 70_000)
    code, why = Call(channel, "ModelMetadata", said).send(long).refused()
    assert (code, "at most 65536 bytes" in why) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


@pytest.mark.parametrize("letter", ["a", "\u00e9"])
def test_a_long_refusal_arrives_cut(
    channel: Any, said: Any, asked_model: OnnxModel, letter: str
) -> None:
    output = pb.ModelInferRequest.InferRequestedOutputTensor(name=letter * 20_000)
    message = pb.ModelInferRequest(model_name=asked_model.name, outputs=[output])
    code, why = Call(channel, "ModelInfer", said).send(message).refused()
    assert (code, letter * 500 in why) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert len(why) <= 4096 + 3


def test_when_to_come_back_is_in_the_trailer(channel: Any, database: None) -> None:
    row, key = auth.create_key("limited", requests_per_minute=1)
    mine = (("authorization", f"Bearer {key}"),)
    try:
        Call(channel, "RepositoryIndex", mine).send(pb.RepositoryIndexRequest()).future.result()
        second = Call(channel, "ModelInfer", mine)
        assert second.refused()[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < int(dict(second.future.trailing_metadata())["retry-after"]) <= 60
    finally:
        row.delete()


def test_more_connections_than_are_let_in_are_closed_and_silent_ones_end(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS * 3)]
    greeted = [_told_until_its_end(each) != b"" for each in silent]
    assert greeted.count(True) == CONNECTIONS


def _told_until_its_end(connection: socket.socket) -> bytes:
    told = b""
    with connection, contextlib.suppress(ConnectionResetError):
        connection.settimeout(30)
        while came := connection.recv(4096):
            told += came
    return told


def test_a_connection_that_asks_nothing_is_closed(port: int, said: Any) -> None:
    with socket.create_connection(("127.0.0.1", port)) as idle:
        # HTTP/2's preface, empty settings, and the acknowledgement of the server's.
        idle.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        idle.sendall(b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0")
        assert _told_until_its_end(idle)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        index = Call(channel, "RepositoryIndex", said).send(pb.RepositoryIndexRequest())
        assert index.future.result().models
