"""The methods of the Open Inference Protocol over gRPC, each asked of the HTTP door."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from django.core.handlers.asgi import ASGIRequest
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import service_pb2 as pb

from browsers import locations
from inference.errors import Unauthorised
from inference.views import callers, http
from inference.views.front import to_https
from inference.views.open_inference import VERSION
from inference.wire.oip import messages
from inference.wire.oip.datatypes import HEADER_LENGTH
from inference.wire.oip.messages import Message

Application = Callable[..., Awaitable[None]]
_NAME: Final = re.compile(r"[^/\0]{1,128}")


class Refused(Exception):
    """The HTTP door's refusal, which ends the call."""

    def __init__(self, answer: http.Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclasses.dataclass(frozen=True)
class Door:
    """The HTTP door for one call; `scope` says who sends it."""

    application: Application
    scope: http.Scope

    async def admit(self) -> None:
        """Raises what `auth.identify` does; Unauthorised, too, of who has no key; Refused of plain HTTP."""
        request = ASGIRequest(dict(self.scope), io.BytesIO())
        if (elsewhere := to_https(request)) is not None:
            raise Refused(elsewhere)
        if "Authorization" not in request.headers:
            raise Unauthorised(
                "expected an API key (metadata authorization: Bearer <key>), got none; over gRPC "
                f"callers of this machine need one, too: `{locations.PROGRAM} create_api_key NAME` makes it"
            )
        self.scope["webpool.caller"] = await callers.identify(request, writes=True)

    async def document(self, path: str, *, body: bytes | None = None) -> Any:
        """What is answered there, read.

        Raises:
            Refused.
        """
        answer = await self.ask(path, "GET" if body is None else "POST", body or b"")
        document = json.loads(answer.body or b"{}")
        if answer.status != 200 and "ready" not in document:
            raise Refused(answer)
        return document

    async def ask(
        self, path: str, method: str, body: bytes, *headers: tuple[bytes, bytes]
    ) -> http.Answer:
        sent = [{"type": "http.request", "body": body, "more_body": False}]
        got: list[Any] = []

        async def receive() -> Any:
            if sent:
                return sent.pop()
            # Who leaves has this call cancelled, and with it all that waits here.
            return await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            got.append(message)

        headers = (*headers, (b"content-length", b"%d" % len(body)))
        here = {"path": path, "raw_path": quote(path).encode(), "method": method}
        scope = {**self.scope, **here, "headers": [*self.scope["headers"], *headers]}
        await self.application(scope, receive, send)
        found = tuple((name.decode(), value.decode()) for name, value in got[0]["headers"])
        whole = b"".join(message.get("body", b"") for message in got[1:])
        return http.Answer(got[0]["status"], whole, headers=found)


async def server_live(door: Door, _: Message) -> Message:
    return _told(pb.ServerLiveResponse, await door.document("/v2/health/live"))


async def server_ready(door: Door, _: Message) -> Message:
    return _told(pb.ServerReadyResponse, await door.document("/v2/health/ready"))


async def server(door: Door, _: Message) -> Message:
    return _told(pb.ServerMetadataResponse, await door.document("/v2"))


async def model_ready(door: Door, call: Message) -> Message:
    path = _path(call.name, call.version, "/ready")
    return _told(pb.ModelReadyResponse, await door.document(path))


async def model(door: Door, call: Message) -> Message:
    path = _path(call.name, call.version)
    return _told(pb.ModelMetadataResponse, await door.document(path))


async def config(door: Door, call: Message) -> Message:
    path = _path(call.name, call.version, "/config")
    return _told(pb.ModelConfigResponse, {"config": await door.document(path)})


async def statistics(door: Door, call: Message) -> Message:
    path = _path(call.name, call.version, "/stats") if call.name else "/v2/models/stats"
    return _told(pb.ModelStatisticsResponse, await door.document(path))


async def index(door: Door, call: Message) -> Message:
    body = json.dumps({"ready": call.ready}).encode()
    found = await door.document("/v2/repository/index", body=body)
    return _told(pb.RepositoryIndexResponse, {"models": found})


async def infer(door: Door, call: Message) -> Message:
    path = _path(call.model_name, call.model_version, "/infer")
    body, length = messages.to_body(call)
    answer = await door.ask(path, "POST", body, (HEADER_LENGTH.lower().encode(), b"%d" % length))
    if answer.status != 200:
        raise Refused(answer)
    head = dict(answer.headers).get(HEADER_LENGTH.lower())
    return messages.from_body(answer.body, int(head) if head else None)


def _path(name: str, version: str, verb: str = "") -> str:
    """Where the HTTP door has a model; with its version, so that no name is taken for a word of the protocol.

    Raises:
        NotFound: no model can be called that.
    """
    version = version or VERSION
    for what in (name, version):
        if not _NAME.fullmatch(what):
            raise callers.NotFound(f"no model has the name or version {what!r:.200}")
    return f"/v2/models/{name}/versions/{version}{verb}"


def _told(message: Any, document: Any) -> Message:
    return ParseDict(document, message(), ignore_unknown_fields=True)
