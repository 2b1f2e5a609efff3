"""The Open Inference Protocol over gRPC: each call is answered by the HTTP application, below HTTP.

So keys, limits, deadlines, refusals and their words are those of /v2/. As there, a message is not read before
its sender is known. Calls come to a port of their own, in the clear; a proxy in front may end TLS.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote, unquote

import grpc
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import service_pb2 as pb

from inference.errors import WebpoolError
from inference.views import callers, http
from inference.wire.oip import messages
from inference.wire.oip.datatypes import HEADER_LENGTH
from inference.wire.oip.messages import Message

Application = Callable[..., Awaitable[None]]
Context = Any
_SERVICE: Final = "inference.GRPCInferenceService"
# What may say who calls, and that somebody stands between; nothing else of a call becomes a header.
_HEADERS: Final = frozenset(
    {"authorization", "origin", "sec-fetch-site", "host", "via", "forwarded", "x-real-ip"}
    | {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
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
    most = settings.WEBPOOL_MAX_REQUEST_MB * 2**20
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),  # nobody else's process may listen there as well
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", 100),
        ],
        maximum_concurrent_rpcs=settings.WEBPOOL_MAX_CONNECTIONS,
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
        def takes(request: Any, handler: Any) -> Any:
            # As a stream of one: what is plain is read before its handler is called.
            return grpc.stream_unary_rpc_method_handler(
                handler, request.FromString, lambda answer: answer.SerializeToString()
            )

        return {
            "ServerLive": takes(pb.ServerLiveRequest, self._server_live),
            "ServerReady": takes(pb.ServerReadyRequest, self._server_ready),
            "ModelReady": takes(pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": takes(pb.ServerMetadataRequest, self._server),
            "ModelMetadata": takes(pb.ModelMetadataRequest, self._model),
            "ModelConfig": takes(pb.ModelConfigRequest, self._config),
            "ModelStatistics": takes(pb.ModelStatisticsRequest, self._statistics),
            "RepositoryIndex": takes(pb.RepositoryIndexRequest, self._index),
            "ModelInfer": takes(pb.ModelInferRequest, self._infer),
        }

    async def _server_live(self, _: Any, context: Context) -> Message:
        return _told(pb.ServerLiveResponse, await self._document(context, "/v2/health/live"))

    async def _server_ready(self, _: Any, context: Context) -> Message:
        return _told(pb.ServerReadyResponse, await self._document(context, "/v2/health/ready"))

    async def _model_ready(self, calls: AsyncIterator[Message], context: Context) -> Message:
        path = _path(await anext(calls), "ready")
        return _told(pb.ModelReadyResponse, await self._document(context, path))

    async def _server(self, _: Any, context: Context) -> Message:
        return _told(pb.ServerMetadataResponse, await self._document(context, "/v2"))

    async def _model(self, calls: AsyncIterator[Message], context: Context) -> Message:
        path = _path(await anext(calls))
        return _told(pb.ModelMetadataResponse, await self._document(context, path))

    async def _config(self, calls: AsyncIterator[Message], context: Context) -> Message:
        path = _path(await anext(calls), "config")
        return _told(pb.ModelConfigResponse, {"config": await self._document(context, path)})

    async def _statistics(self, calls: AsyncIterator[Message], context: Context) -> Message:
        call = await anext(calls)
        path = _path(call, "stats") if call.name else "/v2/models/stats"
        return _told(pb.ModelStatisticsResponse, await self._document(context, path))

    async def _index(self, calls: AsyncIterator[Message], context: Context) -> Message:
        body = json.dumps({"ready": (await anext(calls)).ready}).encode()
        found = await self._document(context, "/v2/repository/index", body=body)
        return _told(pb.RepositoryIndexResponse, {"models": found})

    async def _infer(self, calls: AsyncIterator[Message], context: Context) -> Message:
        scope = self._scope(context, "/v2/", "POST")
        try:
            request = ASGIRequest(dict(scope), io.BytesIO())
            scope["webpool.caller"] = await callers.identify(request, writes=True)
            call = await anext(calls)
            body, length = messages.to_body(call)
        except WebpoolError as error:
            return await _refuse(context, http.failure(error))
        scope["path"] = _path(call, "infer")
        scope["headers"] = [*scope["headers"], (HEADER_LENGTH.lower().encode(), b"%d" % length)]
        answer = await self._answer(scope, body)
        if answer.status != 200:
            return await _refuse(context, answer)
        head = dict(answer.headers).get(HEADER_LENGTH.lower())
        return messages.from_body(answer.body, int(head) if head else None)

    async def _document(self, context: Context, path: str, *, body: bytes | None = None) -> Any:
        """What the HTTP door says there, read; or the call is refused with it."""
        method = "GET" if body is None else "POST"
        answer = await self._answer(self._scope(context, path, method), body or b"")
        document = json.loads(answer.body or b"{}")
        if answer.status != 200 and "ready" not in document:
            await _refuse(context, answer)
        return document

    async def _answer(self, scope: http.Scope, body: bytes) -> http.Answer:
        sent = [{"type": "http.request", "body": body, "more_body": False}]
        got: list[Any] = []

        async def receive() -> Any:
            if sent:
                return sent.pop()
            # Who leaves has this call cancelled, and with it all that waits here.
            return await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            got.append(message)

        scope["raw_path"] = quote(scope["path"]).encode()
        await self._application(scope, receive, send)
        headers = tuple((name.decode(), value.decode()) for name, value in got[0]["headers"])
        whole = b"".join(message.get("body", b"") for message in got[1:])
        return http.Answer(got[0]["status"], whole, headers=headers)

    def _scope(self, context: Context, path: str, method: str) -> http.Scope:
        said = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in context.invocation_metadata() or ()
            if name in _HEADERS
        }
        said.setdefault("host", _own_name().encode())
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "2",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value) for name, value in said.items()],
            "client": _peer(context.peer()),
            "server": self._ours,
        }


def _own_name() -> str:
    """A host that is answered: no page of a browser speaks gRPC, so that none can be led astray by a name."""
    name: str = settings.ALLOWED_HOSTS[0].lstrip(".")
    return "localhost" if name == "*" else name


def _peer(told: str) -> tuple[str, int]:
    """`ipv4:127.0.0.1:50000`, `ipv6:%5B::1%5D:50000` → address and port."""
    host, _, port = unquote(told).partition(":")[2].rpartition(":")
    return host.strip("[]"), int(port)


def _path(call: Message, verb: str = "") -> str:
    """Where the HTTP door has the model that a message names."""
    named = call.DESCRIPTOR.fields_by_name
    name, version = (
        (call.model_name, call.model_version)
        if "model_name" in named
        else (call.name, call.version)
    )
    parts = ["/v2/models", name or "-", *(("versions", version) if version else ()), verb]
    return "/".join(part for part in parts if part)


def _told(message: Any, document: Any) -> Message:
    return ParseDict(document, message(), ignore_unknown_fields=True)


async def _refuse(context: Context, answer: http.Answer) -> Any:
    """End the call with what the HTTP door said."""
    told = json.loads(answer.body or b"{}")
    trailing = [(name, str(told[name])) for name in ("category", "run") if name in told]
    trailing += [(name, value) for name, value in answer.headers if name == "retry-after"]
    code = _CODES.get(answer.status, grpc.StatusCode.FAILED_PRECONDITION)
    why = told.get("error", f"plain HTTP would have been answered with {answer.status}")
    return await context.abort(code, why, tuple(trailing))
