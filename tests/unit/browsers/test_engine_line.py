"""The engine's own connection to the worker: steps of texts, asked and waited for."""

from __future__ import annotations

import threading

import pytest

from browsers.core.errors import ConnectionLost, DeadlinePassed, OutOfMemory
from browsers.core.protocol import WireTensor, decode_frame
from tests.support.served import Page, Served, reply


async def answers_each(socket: Page) -> None:
    async for message in socket:
        _, tensors = decode_frame(message.data)
        await socket.send_bytes(reply(message.data, {"from": "engine"}, tensors))


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
def test_steps_go_to_the_engine_which_is_waited_for(served: Served, size: int) -> None:
    served.engine(answers_each)
    given = WireTensor("x", "uint8", (size,), b"7" * size)
    for _ in range(2):
        header, (got,) = served.bridge.step("decode", {}, [given], timeout_s=60)
        assert header["from"] == "engine"
        assert bytes(got.data) == given.data


def test_a_step_without_a_page_fails_at_once_and_without_an_engine_at_its_deadline(
    served: Served,
) -> None:
    with pytest.raises(ConnectionLost, match="no page"):
        served.bridge.step("decode", {}, (), timeout_s=30)

    async def idle(socket: Page) -> None:
        await socket.receive()

    served.talk(idle)
    with pytest.raises(DeadlinePassed, match="'decode'"):
        served.bridge.step("decode", {}, (), timeout_s=0.1)


def test_an_answer_to_a_step_that_was_given_up_is_passed_over(served: Served) -> None:
    async def late(socket: Page) -> None:
        first = await socket.receive_bytes()
        second = await socket.receive_bytes()
        await socket.send_bytes(reply(first, {"from": "first"}))
        await socket.send_bytes(reply(second, {"from": "second"}))
        await socket.receive()

    served.engine(late)
    with pytest.raises(DeadlinePassed):
        served.bridge.step("decode", {}, (), timeout_s=0.5)
    header, _ = served.bridge.step("decode", {}, (), timeout_s=60)
    assert header["from"] == "second"


def test_who_cuts_the_page_gives_up_what_its_engine_was_asked(served: Served) -> None:
    async def cut(socket: Page) -> None:
        await socket.receive_bytes()
        served.bridge.drop_connection()
        await socket.receive()

    engine = served.engine(cut)
    with pytest.raises(ConnectionLost):
        served.bridge.step("decode", {}, (), timeout_s=30)
    engine.join(10)
    assert not engine.is_alive(), "its own connection is closed, too"


def test_a_step_waits_for_the_engine_that_replaces_a_forgotten_one(served: Served) -> None:
    former = served.engine(answers_each)
    assert served.bridge.step("decode", {}, (), timeout_s=60)[0]["from"] == "engine"
    served.bridge.forget_engine()
    former.join(10)
    assert not former.is_alive(), "its connection was closed"
    with pytest.raises(DeadlinePassed):
        served.bridge.step("decode", {}, (), timeout_s=0.2)
    served.engine(answers_each)
    assert served.bridge.step("decode", {}, (), timeout_s=60)[0]["from"] == "engine"


def test_an_engine_that_broke_sees_its_answer_taken_and_the_next_step_waits_for_another(
    served: Served,
) -> None:
    seen = threading.Event()

    async def broken(socket: Page) -> None:
        error = {"code": "out_of_memory", "message": "because"}
        frame = reply(await socket.receive_bytes(), {"error": error, "fatal": True})
        await socket.send_bytes(frame)
        await socket.receive()
        seen.set()

    served.engine(broken)
    with pytest.raises(OutOfMemory, match="because"):
        served.bridge.step("decode", {}, (), timeout_s=60)
    assert seen.wait(60)
    served.engine(answers_each)
    assert served.bridge.step("decode", {}, (), timeout_s=60)[0]["from"] == "engine"
