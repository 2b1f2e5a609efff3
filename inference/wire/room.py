"""How many bytes of large bodies are held at once: each takes room before it is read or unpacked.

Whoever finds none waits, and reads nothing meanwhile: of those who wait and may, the owner who was served
longest ago is next. A request that holds room and needs more waits for none: two such would wait for each
other. Small bodies take no room. All of it happens on the event loop, without a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Final

from django.conf import settings

from inference import sandbox
from inference.core.turns import Turns
from inference.errors import Busy

SMALL: Final = 2**20
"""Up to how many bytes a body takes no room."""
IN_ALL: Final = 4  # times settings.WEBPOOL_MAX_REQUEST_MB, as the next
OF_ONE: Final = 2
_MOST_WAITING: Final = 16  # of one owner's
_MOST_WAIT_S: Final = 10.0


class Room:
    """Counts bytes by owner."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._turns = Turns()

    @property
    def taken(self) -> int:
        """Bytes of all owners."""
        return self._taken.total()

    async def take(self, owner: str, size: int) -> None:
        """Wait for room, and take it.

        Raises:
            Busy: too many of the owner's wait, or there was none in time.
        """
        queue = self._waiting.setdefault(owner, deque())
        if len(queue) >= _MOST_WAITING:
            raise busy(owner)
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append((size, given))
        self._serve()
        try:
            async with asyncio.timeout(_MOST_WAIT_S):
                await given
        except BaseException as error:
            self._leave(owner, size, given)
            if isinstance(error, TimeoutError):
                raise busy(owner) from None
            raise

    def take_now(self, owner: str, size: int) -> bool:
        """Take room if there is; says whether."""
        fits = self._fits_owner(owner, size) and self._fits_all(size)
        if fits:
            self._taken[owner] += size
        return fits

    def waits_besides(self, owner: str) -> bool:
        """Whether another owner waits for room."""
        return any(other != owner for other in self._waiting)

    def give(self, owner: str, size: int) -> None:
        """Give back what was taken."""
        self._taken[owner] -= size
        if not self._taken[owner]:
            del self._taken[owner]
        self._serve()

    def _leave(self, owner: str, size: int, given: asyncio.Future[None]) -> None:
        if given.done() and not given.cancelled():  # as it left
            self.give(owner, size)
            return
        queue = self._waiting.get(owner, deque())
        if (size, given) in queue:
            queue.remove((size, given))
            if not queue:
                del self._waiting[owner]
        self._serve()

    def _serve(self) -> None:
        while (owner := self._next()) is not None:
            self._turns.note(owner)
            queue = self._waiting[owner]
            size, given = queue.popleft()
            if not queue:
                del self._waiting[owner]
            if not given.cancelled():
                self._taken[owner] += size
                given.set_result(None)

    def _next(self) -> str | None:
        """Whose turn it is; a large body is overtaken by none of another owner that would fit."""
        sizes = {owner: queue[0][0] for owner, queue in self._waiting.items()}
        may = [owner for owner, size in sizes.items() if self._fits_owner(owner, size)]
        if not may:
            return None
        owner = self._turns.next_of(may)
        return owner if self._fits_all(sizes[owner]) else None

    def _fits_owner(self, owner: str, size: int) -> bool:
        return self._taken[owner] + size <= OF_ONE * settings.WEBPOOL_MAX_REQUEST_MB * 2**20

    def _fits_all(self, size: int) -> bool:
        return self.taken + size <= IN_ALL * settings.WEBPOOL_MAX_REQUEST_MB * 2**20


def busy(owner: str) -> Busy:
    """The refusal of one body more."""
    return Busy(
        f"{owner} sends more at once than is held: of one caller {OF_ONE}, of all {IN_ALL} times "
        f"{settings.WEBPOOL_MAX_REQUEST_MB} MB (WEBPOOL_MAX_REQUEST_MB) of bodies beyond {SMALL} bytes, "
        "packed and unpacked; send fewer at a time",
        retry_after_s=_MOST_WAIT_S,
    )


class Held:
    """The room that one request has."""

    def __init__(self, room: Room) -> None:
        self._room, self._owner, self._size = room, "", 0

    async def grow(self, size: int) -> None:
        """Take so much more, if that is not small, for whom the task speaks for.

        Raises:
            Busy.
        """
        if size <= SMALL:
            return
        if not self._size:
            self._owner = sandbox.spoken_for()
            await self._room.take(self._owner, size)
        elif not self._room.take_now(self._owner, size):
            raise busy(self._owner)
        self._size += size

    def crowds_out(self) -> bool:
        """Whether somebody else waits for such room."""
        return self._size > 0 and self._room.waits_besides(self._owner)

    def shrink(self, size: int) -> None:
        """Give so much of it back, as far as there is."""
        if (size := min(size, self._size)) > 0:
            self._size -= size
            self._room.give(self._owner, size)

    def end(self) -> None:
        """Give all of it back."""
        self.shrink(self._size)

    def ending(self) -> Callable[[], object]:
        """What ends it from another thread."""
        loop = asyncio.get_running_loop()
        return lambda: loop.call_soon_threadsafe(self.end)


_room: Final = Room()
_held: ContextVar[Held | None] = ContextVar("held", default=None)


@contextlib.contextmanager
def of_request() -> Iterator[None]:
    """Within it a request may take room, which it gives back at the end."""
    held = Held(_room)
    before = _held.set(held)
    try:
        yield
    finally:
        _held.reset(before)
        held.end()


def held() -> Held:
    """That of the request which is being answered."""
    found = _held.get()
    assert found is not None, "a body is read outside of a request"
    return found
