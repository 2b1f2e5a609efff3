"""The whole web application in this process, below HTTP: what its front refuses, Django never sees."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from webpool_site.asgi import application


@dataclasses.dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    query: str = "",
    client: str = "127.0.0.1",
    http_version: str = "1.1",
    through: Any = application,
) -> Answered:
    """Send a request through every layer of the application, and wait for its whole answer.

    A local caller of this machine, unless `client` or headers say otherwise; `through`: another application.
    """
    sent = {"host": "127.0.0.1", "content-length": str(len(body))}
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    return asyncio.run(_ask(through, method, path, body, sent, query, client, http_version))


def ask_at_once(count: int, path: str, body: bytes, headers: Mapping[str, str]) -> list[Answered]:
    """POST the same so many times at once, as a local caller of this machine."""
    sent = {"host": "127.0.0.1", "content-length": str(len(body))}
    sent |= {name.lower(): value for name, value in headers.items()}

    async def all_of_them() -> list[Answered]:
        one = (application, "POST", path, body, sent, "", "127.0.0.1", "1.1")
        return await asyncio.gather(*(_ask(*one) for _ in range(count)))

    return asyncio.run(all_of_them())


async def _ask(
    through: Any,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    query: str,
    client: str,
    http_version: str,
) -> Answered:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": http_version,
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        "client": (client, 50000),
        "server": None,  # no socket whose user the kernel could tell
    }
    answered = asyncio.Event()
    messages: list[Any] = []
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    await through(scope, receive, send)
    start = messages[0]
    found = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answered(
        start["status"], found, b"".join(message.get("body", b"") for message in messages[1:])
    )
