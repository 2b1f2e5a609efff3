"""The worker's server, spoken to by plain clients: who gets in, what is served, what fails how."""

from __future__ import annotations

import asyncio
import threading
import time

import aiohttp
import psutil
import pytest

from browsers.bridge import NotLoaded, PageEvent
from browsers.core.errors import ConnectionLost, DeadlinePassed, InvalidInput
from browsers.core.protocol import WireTensor, decode_frame, encode_frame
from tests.support.served import SHA256, Page, Served, get, reply
from webpool_site.lab.faults.injection import silence_page


async def check_served(served: Served, path: str, mime: str) -> None:
    status, headers, body = await get(served.base + path, Cookie=served.cookie)
    assert (status, headers["Content-Type"].split(";")[0]) == (200, mime)
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert body


@pytest.mark.parametrize(
    ("path", "mime"),
    [
        ("", "text/html"),
        ("main.js", "text/javascript"),
        ("engine.js", "text/javascript"),
        ("ort/ort.mjs", "text/javascript"),
        (f"files/{SHA256}", "application/octet-stream"),
    ],
)
def test_the_page_and_its_files_are_served_isolated(served: Served, path: str, mime: str) -> None:
    asyncio.run(check_served(served, path, mime))


def test_model_files_are_immutable_and_whole(served: Served) -> None:
    _, headers, body = asyncio.run(get(served.base + f"files/{SHA256}", Cookie=served.cookie))
    assert "immutable" in headers["Cache-Control"]
    assert body == bytes(range(256)) * 1000


@pytest.mark.parametrize(
    "path",
    [
        "ort/secret.txt",
        "ort/..%2Fsecret.txt",
        "nothing.js",
        "files/" + "cd" * 32,
        "files/..%2Fort.mjs",
        f"files/{SHA256.upper()}",
    ],
)
def test_nothing_else_is_served(served: Served, path: str) -> None:
    status, _, _ = asyncio.run(get(served.base + path, Cookie=served.cookie))
    assert status == 404


def test_nothing_is_served_without_the_cookie_or_to_another_host_name(served: Served) -> None:
    assert asyncio.run(get(served.base))[0] == 404
    assert asyncio.run(get(served.base + "main.js"))[0] == 404
    assert asyncio.run(get(served.base + f"files/{SHA256}", Cookie="webpool=wrong"))[0] == 404
    assert asyncio.run(get(served.base, Cookie=served.cookie))[0] == 200
    assert asyncio.run(get(served.base, Cookie=served.cookie, Host="evil.example"))[0] == 404


def test_the_pages_address_lets_one_load_in(served: Served) -> None:
    assert asyncio.run(get(served.url))[0] == 404, "it was used"
    unused, fresh = served.bridge.url(threads=2), served.bridge.url(threads=2)
    assert asyncio.run(get(unused))[0] == 404, "there is a later one"
    status, headers, _ = asyncio.run(get(fresh))
    assert status == 200
    assert "HttpOnly" in headers["Set-Cookie"]
    assert asyncio.run(get(fresh))[0] == 404
    assert served.cookie.partition("=")[2] not in fresh


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 404),
        ({"Cookie": "webpool=wrong"}, 404),
    ],
)
def test_the_socket_lets_in_only_its_own_page(
    served: Served, headers: dict[str, str], status: int
) -> None:
    async def knock() -> None:
        async with served.page(**headers):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        asyncio.run(knock())
    assert caught.value.status == status
    assert not served.bridge.connected


def test_a_request_without_a_page_fails_at_once(served: Served) -> None:
    with pytest.raises(ConnectionLost, match="no page"):
        served.bridge.request("ping", {}, timeout_s=60)


@pytest.mark.parametrize("size", [0, 5, 4096, 70_000, 20_000_000])
def test_tensors_of_any_size_come_back(served: Served, size: int) -> None:
    async def echo(socket: Page) -> None:
        async for message in socket:
            _, tensors = decode_frame(message.data)
            await socket.send_bytes(reply(message.data, {}, tensors))

    served.talk(echo)
    data = (b"0123456789" * (size // 10 + 1))[:size]
    for _ in range(2):
        _, (got,) = served.bridge.request(
            "run", {}, [WireTensor("x", "uint8", (size,), data)], timeout_s=10
        )
        assert bytes(got.data) == data


def test_errors_of_the_page_are_raised(served: Served) -> None:
    codes = iter(["invalid_input", "not_loaded"])

    async def refuse(socket: Page) -> None:
        async for message in socket:
            error = {"code": next(codes), "message": "because"}
            await socket.send_bytes(reply(message.data, {"error": error}))

    served.talk(refuse)
    with pytest.raises(InvalidInput, match="because"):
        served.bridge.request("run", {}, timeout_s=60)
    with pytest.raises(NotLoaded):
        served.bridge.request("run", {}, timeout_s=60)


def test_a_deadline_passes_and_a_late_reply_is_dropped(served: Served) -> None:
    async def late(socket: Page) -> None:
        first = await socket.receive_bytes()
        second = await socket.receive_bytes()
        await socket.send_bytes(reply(first, {"from": "first"}))
        await socket.send_bytes(reply(second, {"from": "second"}))
        await socket.receive()

    served.talk(late)
    with pytest.raises(DeadlinePassed, match=r"'run' within 0\.1 s"):
        served.bridge.request("run", {}, timeout_s=0.1)
    header, _ = served.bridge.request("run", {}, timeout_s=60)
    assert header["from"] == "second"


def test_a_closed_socket_fails_what_is_pending_at_once(served: Served) -> None:
    async def leave(socket: Page) -> None:
        await socket.receive_bytes()

    served.talk(leave)
    began = time.monotonic()
    with pytest.raises(ConnectionLost):
        served.bridge.request("run", {}, timeout_s=120)
    assert time.monotonic() - began < 60
    assert [event.name for event in served.events] == ["closed"]


def test_a_broken_message_ends_the_connection(served: Served) -> None:
    async def babble(socket: Page) -> None:
        await socket.receive_bytes()
        await socket.send_bytes(b"\xff\xff\xff\xff")
        await socket.receive()

    served.talk(babble)
    with pytest.raises(ConnectionLost, match="broken message"):
        served.bridge.request("run", {}, timeout_s=30)
    assert not served.bridge.connected


def test_events_reach_the_callback(served: Served) -> None:
    async def greet(socket: Page) -> None:
        hello = {"event": "hello", "page": "p", "engine": 1}
        await socket.send_bytes(b"".join(encode_frame(hello)))
        await socket.receive()

    served.talk(greet)
    until = time.monotonic() + 5
    while not served.events and time.monotonic() < until:
        time.sleep(0.005)
    assert served.events == [PageEvent("hello", {"page": "p", "engine": 1})]


def test_a_new_connection_replaces_the_old(served: Served) -> None:
    async def wait(socket: Page) -> None:
        await socket.receive()

    async def answer(socket: Page) -> None:
        await socket.send_bytes(reply(await socket.receive_bytes(), {"from": "new"}))
        await socket.receive()

    old = served.talk(wait)
    for times in range(1, 31):
        new = served.talk(answer)
        old.join(5)
        assert not old.is_alive()
        header, _ = served.bridge.request("ping", {}, timeout_s=60)
        assert header["from"] == "new", "nor does it fail for what became of the old one"
        assert [event.name for event in served.events] == ["closed"] * times, (
            "told, whichever end is seen first"
        )
        old = new


def test_the_end_of_a_connection_is_told_before_the_greeting_of_the_next(served: Served) -> None:
    """Else what was cut on purpose seems to have broken afterwards, with a page that greeted."""

    async def greet(socket: Page) -> None:
        hello = {"event": "hello", "page": "p", "engine": 1}
        await socket.send_bytes(b"".join(encode_frame(hello)))
        await socket.receive()

    def slowly(event: PageEvent) -> None:
        time.sleep(0.1 if event.name == "closed" else 0)
        served.events.append(event)

    served.hears = slowly
    for times in range(1, 4):
        served.talk(greet)
        until = time.monotonic() + 60
        while len(served.events) < 2 * times - 1 and time.monotonic() < until:
            time.sleep(0.005)
        served.bridge.drop_connection()
        while served.bridge.connected and time.monotonic() < until:
            time.sleep(0.001)
    while len(served.events) < 6 and time.monotonic() < until:
        time.sleep(0.005)
    assert [event.name for event in served.events] == ["hello", "closed"] * 3


def test_who_drops_a_connection_does_not_hit_the_one_that_replaced_it(served: Served) -> None:
    async def leave_when_cut(socket: Page) -> None:
        await socket.receive()

    async def answer(socket: Page) -> None:
        await socket.send_bytes(reply(await socket.receive_bytes(), {"from": "new"}))
        await socket.receive()

    former = served.talk(leave_when_cut)
    silent = served.bridge.connection
    assert silent is not None
    served.bridge.drop_connection(silent)
    former.join(5)
    until = time.monotonic() + 5
    while served.bridge.connected and time.monotonic() < until:
        time.sleep(0.005)
    served.talk(answer)
    served.bridge.drop_connection(silent)
    header, _ = served.bridge.request("ping", {}, timeout_s=60)
    assert header["from"] == "new"


def test_a_page_hears_of_the_end_of_a_connection_that_went_silent(served: Served) -> None:
    """A goodbye would wait for ever for what the page cannot acknowledge; somebody may still know of it."""
    ended = threading.Event()

    async def listen(socket: Page) -> None:
        async for _ in socket:
            pass
        ended.set()

    served.talk(listen)
    known = served.bridge.connection
    silence_page(psutil.Process())
    with pytest.raises(DeadlinePassed):  # for as long as the kernel sends it several times in vain
        served.bridge.request("ping", {}, timeout_s=1.5)
    served.bridge.drop_connection(known)
    assert ended.wait(60)
