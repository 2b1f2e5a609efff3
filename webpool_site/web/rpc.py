"""The Open Inference Protocol over gRPC: each call is answered by the HTTP application, below HTTP.

So keys, limits, deadlines, refusals and their words are those of /v2/. As there, a message is not read before
its sender is known. Nobody is let in without a key: a proxy shows itself to HTTP by the host that it passes
on, and gRPC's server does not tell its own. Calls come to a port of their own, in the clear; a proxy in front
may end TLS.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

import grpc
from django.conf import settings
from tritonclient.grpc import service_pb2 as pb

from inference.errors import InvalidRequest, TooLarge
from inference.views import http
from inference.wire.oip import messages
from inference.wire.oip.messages import Message
from webpool_site.web import methods
from webpool_site.web.methods import Application, Door

Context = Any
_SERVICE: Final = "inference.GRPCInferenceService"
_MOST_PLAIN_BYTES: Final = 64 * 2**10
"""Of every message but those with tensors."""
_MOST_WHY_BYTES: Final = 4 * 2**10
"""Of a refusal's words as they travel: clients take 8 KB of trailing metadata, or drop the answer."""
# What says who calls, and whether it came over TLS; nothing else of a call becomes a header.
_HEADERS: Final = frozenset({"authorization", "x-forwarded-proto"})
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    410: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


async def serve(application: Application, host: str, port: int) -> Any:
    """Listen; returns the server, whose `stop` ends it.

    Raises:
        OSError: the port is taken.
    """
    server = grpc.aio.server(
        options=_bounds(), maximum_concurrent_rpcs=settings.WEBPOOL_MAX_CONNECTIONS
    )
    address = socket.gethostbyname(host) if not _is_address(host) else host
    bound = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    service = _Service(application, (address, port))
    handler = grpc.method_handlers_generic_handler(_SERVICE, service.handlers())
    server.add_generic_rpc_handlers((handler,))
    try:
        server.add_insecure_port(bound)
    except RuntimeError as error:
        raise OSError(f"gRPC: {bound} cannot be listened on: {error}") from None
    await server.start()
    return server


def _bounds() -> list[tuple[str, int]]:
    """What a connection may take, as `connections` bounds HTTP's."""
    read_ms = round(settings.WEBPOOL_READ_S * 1000)
    return [
        ("grpc.so_reuseport", 0),  # nobody else's process may listen there as well
        ("grpc.max_receive_message_length", http.limit_bytes()),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", 100),
        ("grpc.max_allowed_incoming_connections", settings.WEBPOOL_MAX_CONNECTIONS),
        ("grpc.server_handshake_timeout_ms", read_ms),
        ("grpc.max_connection_idle_ms", read_ms),
        ("grpc.keepalive_time_ms", read_ms),
        ("grpc.keepalive_timeout_ms", read_ms),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _Service:
    """`ours`: address and port of the server's end of every connection."""

    def __init__(self, application: Application, ours: tuple[str, int]) -> None:
        self._application, self._ours = application, ours

    def handlers(self) -> dict[str, Any]:
        return {
            "ServerLive": self._answering(methods.server_live, None, public=True),
            "ServerReady": self._answering(methods.server_ready, None, public=True),
            "ServerMetadata": self._answering(methods.server, None),
            "ModelReady": self._answering(methods.model_ready, pb.ModelReadyRequest),
            "ModelMetadata": self._answering(methods.model, pb.ModelMetadataRequest),
            "ModelConfig": self._answering(methods.config, pb.ModelConfigRequest),
            "ModelStatistics": self._answering(methods.statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": self._answering(methods.index, pb.RepositoryIndexRequest),
            "ModelInfer": self._answering(
                methods.infer, pb.ModelInferRequest, most_bytes=http.limit_bytes()
            ),
        }

    def _answering(
        self,
        handler: Callable[[Door, Message], Awaitable[Message]],
        kind: Any,
        *,
        public: bool = False,
        most_bytes: int = _MOST_PLAIN_BYTES,
    ) -> Any:
        """A method: who calls is known, unless it is public, then the message is read, if it has a kind."""

        async def answer(calls: AsyncIterator[bytes], context: Context) -> Message:
            try:
                door = Door(self._application, self._scope(context))
                if not public:
                    await door.admit()
                message = await _received(calls, most_bytes) if kind is not None else b""
                return await handler(door, messages.read(kind, message) if kind else None)
            except methods.Refused as refused:
                refusal = refused.answer
            except Exception as error:
                refusal = http.failure(http.as_webpool_error(error))
            return await _refuse(context, refusal)

        # As a stream of one, in bytes: what is plain is read, and built, before its handler is called.
        return grpc.stream_unary_rpc_method_handler(
            answer, None, lambda answer: answer.SerializeToString()
        )

    def _scope(self, context: Context) -> http.Scope:
        said = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in context.invocation_metadata() or ()
            if name in _HEADERS
        }
        said["host"] = _own_name().encode()
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "2",
            "scheme": "http",
            "method": "POST",
            "path": "/v2/",
            "raw_path": b"/v2/",
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value) for name, value in said.items()],
            "client": _peer(context.peer()),
            "server": self._ours,
        }


class LateMessage(InvalidRequest):
    """It did not come in time; over HTTP such a request is answered with 408, too."""

    status = 408


async def _received(calls: AsyncIterator[bytes], most_bytes: int) -> bytes:
    """The one message of a call.

    Raises:
        InvalidRequest: none came, or none within settings.WEBPOOL_READ_S.
        TooLarge.
    """
    within_s = settings.WEBPOOL_READ_S
    try:
        message = await asyncio.wait_for(anext(calls), within_s)
    except StopAsyncIteration:
        raise InvalidRequest("expected a message, got none") from None
    except TimeoutError:
        raise LateMessage(
            f"expected the whole message within {within_s:g} s (WEBPOOL_READ_S), got none"
        ) from None
    if len(message) > most_bytes:
        raise TooLarge(f"expected a message of at most {most_bytes} bytes, got {len(message)}")
    return message


def _own_name() -> str:
    """A host that is answered: no page of a browser speaks gRPC, so that none can be led astray by a name."""
    name: str = settings.ALLOWED_HOSTS[0].lstrip(".")
    return "localhost" if name == "*" else name


def _peer(told: str) -> tuple[str, int]:
    """`ipv4:127.0.0.1:50000`, `ipv6:%5B::1%5D:50000` → address and port."""
    host, _, port = unquote(told).partition(":")[2].rpartition(":")
    return host.strip("[]"), int(port)


async def _refuse(context: Context, answer: http.Answer) -> Any:
    """End the call with what the HTTP door said."""
    told = json.loads(answer.body or b"{}")
    trailing = [(name, str(told[name])) for name in ("category", "run") if name in told]
    retry = [value for name, value in answer.headers if name.lower() == "retry-after"]
    trailing += [("retry-after", value) for value in retry]
    code = CODES.get(answer.status, grpc.StatusCode.FAILED_PRECONDITION)
    why = told.get("error", f"plain HTTP would have been answered with {answer.status}")
    return await context.abort(code, _cut(why), tuple(trailing))


def _cut(why: str) -> str:
    """As much of it as travels: what is not printable in ASCII takes three bytes for each of UTF-8's."""
    taken = 0
    for at, letter in enumerate(why):
        plain = " " <= letter <= "~" and letter != "%"
        taken += 1 if plain else 3 * len(letter.encode())
        if taken > _MOST_WHY_BYTES:
            return f"{why[:at]}..."
    return why
