"""Room for large bodies: bounded in all and for each owner, and given in turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inference.errors import Busy
from inference.wire import room
from inference.wire.room import SMALL, Held, Room

MB = 2**20
pytestmark = pytest.mark.usefixtures("small_limit")


@pytest.fixture
def small_limit(settings: Any) -> None:
    """16 MB in all, 8 of each owner."""
    settings.WEBPOOL_MAX_REQUEST_MB = 4


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def asking(one: Room, *wishes: tuple[str, int]) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(one.take(owner, size * MB)) for owner, size in wishes]


def test_an_owner_has_half_and_others_the_rest() -> None:
    async def check() -> None:
        one = Room()
        asked = asking(one, ("a", 4), ("a", 4), ("a", 4), ("b", 8), ("c", 2))
        await settled()
        assert [each.done() for each in asked] == [True, True, False, True, False]
        assert one.taken == 16 * MB
        one.give("b", 8 * MB)
        await settled()
        assert [each.done() for each in asked] == [True, True, False, True, True]
        one.give("a", 4 * MB)
        await settled()
        assert asked[2].done()

    asyncio.run(check())


def test_who_was_served_longest_ago_is_next_and_is_not_overtaken() -> None:
    async def check() -> None:
        one = Room()
        asked = asking(one, ("a", 8), ("b", 7))
        await settled()
        asked += asking(one, ("c", 4), ("d", 1))
        await settled()
        assert [each.done() for each in asked] == [True, True, False, False]
        one.give("a", 4 * MB)
        await settled()
        assert all(each.done() for each in asked)

    asyncio.run(check())


def test_who_leaves_takes_no_room_and_holds_up_nobody() -> None:
    async def check() -> None:
        one = Room()
        asked = asking(one, ("a", 8), ("b", 8), ("c", 8), ("d", 1))
        await settled()
        asked[2].cancel()
        one.give("a", 2 * MB)
        await settled()
        assert asked[2].cancelled()
        assert asked[3].done()
        late = asking(one, ("e", 4))
        await settled()
        one.give("b", 8 * MB)
        late[0].cancel()  # as it is given room
        await settled()
        assert late[0].cancelled()
        one.give("a", 6 * MB)
        one.give("d", 1 * MB)
        await settled()
        assert one.taken == 0

    asyncio.run(check())


def test_beyond_a_number_that_waits_and_after_a_while_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "_MOST_WAIT_S", 0.05)

    async def check() -> None:
        one = Room()
        asked = asking(one, *[("a", 8)] * 20)
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert done[0] is None
        assert all(isinstance(each, Busy) for each in done[1:])
        assert one.taken == 8 * MB
        await one.take("b", 8 * MB)

    asyncio.run(check())


def test_what_holds_room_waits_for_no_more_of_it() -> None:
    async def check() -> None:
        one = Room()
        first, second = Held(one), Held(one)
        await first.grow(SMALL)
        assert one.taken == 0
        await first.grow(4 * MB)
        await second.grow(3 * MB)
        with pytest.raises(Busy):
            await first.grow(4 * MB)
        second.shrink(2 * MB)
        await first.grow(3 * MB)
        first.end()
        second.end()
        assert one.taken == 0

    asyncio.run(check())
