"""One round of a campaign: texts that are written at once, heard token by token, and blows that hit them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

import psutil
import redis.exceptions
from django.db import DatabaseError, connection

from browsers import clock
from browsers.state.live import living
from inference.core.generation.asked import Asked, Ended, TokenWritten
from inference.generation import serving
from inference.models import GenerationRecovery, GenerationStage, OnnxModel
from webpool_site.lab.faults.campaign import OWNER
from webpool_site.lab.faults.injection import Fault, inject
from webpool_site.lab.faults.targets import SERVICES, NoTarget, Target, Targets

_KILLED: Final = (
    Target.PAGE, Target.GPU, Target.BROWSER, Target.DRIVER, Target.WORKER, Target.CONTROL, Target.VALKEY,
    Target.WEB,
)  # fmt: skip
_STOPPED: Final = (Target.PAGE, Target.BROWSER, Target.WORKER, Target.CONTROL)
_BLOWS: Final = (
    *((each, Fault.KILL) for each in _KILLED),
    *((each, Fault.STOP) for each in _STOPPED),
)
_LOOK_EVERY_S: Final = 0.002
_AGAIN_S: Final = 0.1
NOT_LOST: Final = "no stage lost"


@dataclass(frozen=True)
class Pause:
    """What a blow meant for a text, in s.

    Attributes:
        what: what was hurt.
        way: how the stages that were lost went on.
        longest_s: the longest time without a token from then to the next blow.
        noticed_s: until the first of its stages was given on; None: none was.
        opened_s: and from then on until the other browser had loaded and proved its file, the longest; None
            where nobody did.
        resumed_s: and until the stages went on, at the longest.
    """

    what: str
    way: str
    longest_s: float
    noticed_s: float | None = None
    opened_s: float | None = None
    resumed_s: float | None = None


@dataclass(frozen=True)
class Blow:
    """`browser`: whose part was hurt; "" for a service; `at` is Unix time."""

    what: str
    browser: str
    at: float


@dataclass
class Hearing:
    """A text, heard in a thread of its own; times are Unix time, one per token."""

    session: str
    asked: Asked
    tokens: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ended: Ended | None = None
    hit: list[tuple[Blow, bool]] = field(
        default_factory=list
    )  # with whether it holds a stage of it

    def listen(self) -> None:
        """Hear it to its end; a listener whose database is away comes again."""
        try:
            while self.ended is None:
                with contextlib.suppress(DatabaseError, redis.exceptions.RedisError):
                    self._hear()
                    continue
                time.sleep(_AGAIN_S)
        finally:
            connection.close()

    def _hear(self) -> None:
        for event in serving.listen(self.session, after=len(self.tokens)):
            if isinstance(event, TokenWritten):
                self.times.append(clock.now().timestamp())
                self.tokens.append(event.pick.token)
                self.indices.append(event.index)
            elif isinstance(event, Ended):
                self.ended = event

    @property
    def written(self) -> int:
        return len(self.tokens)

    def pauses(self) -> list[Pause]:
        """Of every blow that hit it and was followed by a token before the next one."""
        blows = [blow for blow, _ in self.hit]
        found = []
        for place, (blow, hits) in enumerate(self.hit):
            until = blows[place + 1].at if place + 1 < len(blows) else float("inf")
            longest = _longest_s(self.times, blow.at, until)
            if hits and longest is not None:
                found.append(self._pause(blow, until, longest))
        return found

    def _pause(self, blow: Blow, until: float, longest: float) -> Pause:
        rows = GenerationRecovery.objects.filter(session__pk=self.session).order_by("began_at")
        own = [row for row in rows if blow.at <= row.began_at.timestamp() < until]
        if not own:
            return Pause(blow.what, NOT_LOST, longest)
        return Pause(
            blow.what,
            "+".join(sorted({row.how for row in own})),
            longest,
            own[0].began_at.timestamp() - blow.at,
            max((row.opened_s for row in own if row.opened_s is not None), default=None),
            max((row.seconds for row in own if row.seconds is not None), default=None),
        )


def _longest_s(times: Sequence[float], since: float, until: float) -> float | None:
    """The longest time without a token, of those that ended between; None: none came."""
    gaps = [
        later - max(earlier, since)
        for earlier, later in pairwise([since, *times])
        if since < later <= until
    ]
    return max(gaps, default=None)


def round_of(
    model: OnnxModel, texts: Sequence[Asked], home: Path, kills: int, random: Random
) -> Iterator[Hearing]:
    """Have texts written at once, and strike so often meanwhile, at random tokens of the first."""
    hearings = [Hearing(serving.start(model, asked, OWNER), asked) for asked in texts]
    threads = [threading.Thread(target=each.listen) for each in hearings]
    for thread in threads:
        thread.start()
    first = hearings[0]
    most = first.asked.max_tokens
    # The first blow comes while all are written: texts of one pool go at about the same pace.
    at = sorted([random.randrange(1, most // 2), *random.sample(range(1, most - 1), kills - 1)])
    for token in at:
        while first.written <= token and first.ended is None:
            time.sleep(_LOOK_EVERY_S)
        if first.ended is None:
            _strike(home, hearings, random)
    for thread in threads:
        thread.join()
    yield from hearings


def _strike(home: Path, hearings: Sequence[Hearing], random: Random) -> None:
    """Kill or stop something that the first text needs; nothing, where it is just being started.

    Where no other browser is ready at that moment the texts wait until one is: that is said, too.
    """
    held: dict[str, set[str]] = {each.session: set() for each in hearings}
    stages = GenerationStage.objects.filter(session__pk__in=held).exclude(browser="")
    for session, browser in stages.values_list("session", "browser"):
        held[str(session)].add(browser)
    needed = sorted(held[hearings[0].session])
    browser = random.choice(needed) if needed else ""
    target, fault = random.choice(_BLOWS)
    said = f"{target} stopped" if fault is Fault.STOP else target.value
    with contextlib.suppress(NoTarget, psutil.NoSuchProcess, redis.exceptions.RedisError):
        ready = {each.id for each in living().values() if each.state == "ready"}
        victim = Targets(home).find(target, browser)
        at = clock.now().timestamp()
        inject(victim, fault)
        service = target in SERVICES
        if not ready - ({browser} if not service else set()):
            said += ", none left"
        blow = Blow(said, "" if service else browser, at)
        for each in hearings:
            if each.ended is None:
                each.hit.append((blow, service or browser in held[each.session]))
