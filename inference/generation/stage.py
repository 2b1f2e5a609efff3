"""One stage of one session in the browser that this worker owns: its next step, computed and passed on."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.exceptions import RedisError

from browsers import clock
from browsers.bridge import NotLoaded, Refusal, Reply, StepRefused
from browsers.core.errors import BrowserError
from browsers.core.failures import Category
from browsers.session.decoding import StepAsked
from browsers.worker import BrowserWorker
from inference.core.generation import control, telling
from inference.core.generation.asked import Ended, Ending, Resumed
from inference.core.generation.batches import batch_of
from inference.core.generation.sampled import Undrawable
from inference.core.generation.sessions import Place, Step, Verdict, after, judge
from inference.core.generation.stages import Stage
from inference.core.generation.step_times import StepTimes
from inference.core.generation.wording.grammar import Unfollowable
from inference.core.generation.writing import Writer
from inference.documents import JsonObject
from inference.generation import streams
from inference.generation.frames import (
    Framed,
    frame_of,
    memory_in,
    read_frame,
    taken_by,
    tokens_frame,
    tops,
)
from inference.generation.scripts import Call
from inference.generation.streams import Appended, Said, Takeover
from inference.generation.takeover import strides
from inference.generation.takeover.comparing import is_same_stride
from inference.generation.takeover.outcomes import OTHERWISE, SAY_EVERY_S, Closed, Lost, Outcomes
from inference.generation.takeover.strides import CatchUp, Input, Stride

_ALLOW_EVERY: Final = 32  # steps


@dataclass(frozen=True)
class Begins:
    """The first `length` positions of a kept cache; `surpassed`: the stage has all that it can serve with."""

    holder: str
    length: int
    surpassed: bool


@dataclass
class HeldStage:
    """A stage that is loaded here, one of `stages`.

    `writer`: in the last one; `cursor`: the last input computed; `next`: the one after it, once it came.
    A step that takes longer than the stage's own did is late (`times`); before there are enough of them,
    and where the browser computes something else first, after `timeout_s`.
    `batches`: its steps may be computed with those of other sessions.
    `catch_up`: it may compute what it lacks in strides.
    `follows`: it is a standby, whose epoch is not the stage's yet.
    `key`: its inputs' stream; `holder`: its cache's name in the page.
    """

    session: str
    index: int
    stages: int
    epoch: int
    sha256: str
    stage: Stage
    backend: str
    timeout_s: float
    times: StepTimes
    shelf: str
    mb_per_position: float
    batches: bool
    prefix: Begins | None = None
    writer: Writer | None = None
    takeover: Takeover | None = None
    follows: bool = False
    catch_up: CatchUp | None = None
    place: Place | None = None
    cursor: str = "0-0"
    next: Input | None = None
    used: float = field(default_factory=time.monotonic)
    key: str = field(init=False)
    holder: str = field(init=False)
    _unsaid: int = 0
    _said: bool = False
    _said_where: float = float("-inf")
    _outcomes: Outcomes = field(init=False)

    def __post_init__(self) -> None:
        self.key = streams.in_key(self.session, self.index)
        self.holder = f"{self.session}:{self.index}"
        self._outcomes = Outcomes(self.session, self.index, self.epoch, self.backend)

    def came(self, entry: str, frame: bytes) -> None:
        """Its next input came; while it catches up, with those after it.

        Raises:
            RedisError: the store does not answer; it is to come again.
        """
        framed = read_frame(frame)
        self.next = strides.input_of(
            self.session, self.index, entry, framed, self.catch_up, last=self.writer is not None
        )

    @property
    def ready(self) -> bool:
        """Whether its next step can be computed."""
        return self.next is not None and not self.ahead

    @property
    def unsettled(self) -> bool:
        """Whether it is to `settle` now: its next step waits for that, or it has not looked for a moment."""
        return self.ahead and (self.next is not None or self._outcomes.is_due)

    @property
    def ahead(self) -> bool:
        """Whether it came further than the stage: it is to `settle` before its next step."""
        return self._outcomes.owes

    def caught_up(self, browser: str, position: int) -> None:
        """Tell, once, that a stage that was lost goes on here."""
        takeover = self.takeover
        if takeover is None or position < takeover.until:
            return
        seconds = clock.now().timestamp() - takeover.began
        event = Resumed(self.index, browser, takeover.how, seconds)
        streams.resumed(self.session, self.index, self.epoch, event)
        streams.tell_control(control.CaughtUp(self.session, self.index, self.epoch, seconds))
        self.takeover = None

    def ask(self, kept: Place | None = None) -> StepAsked:
        """Its next step, as the page is asked for it; `kept`: what is there to begin with.

        Raises:
            Lost: it must be replayed elsewhere.
        """
        assert self.next is not None, "a stage without input has no step"
        assert not self.ahead, "a standby waits for what the stage gives"
        step = self._step(self.next)
        verdict = judge(self.place, step, kept)
        if verdict.refused:
            raise Lost(self._refused(verdict), f"{verdict}: {step} does not follow {self.place}")
        header: JsonObject = {
            "epoch": step.epoch,
            "start": step.start,
            "count": step.count,
            "drafted": step.drafted,
            "top_k": self._top_k(step),
        }
        if step.start == 0:
            header["stage"] = self.stage.to_json()
        elif self.prefix is not None and step.start == self.prefix.length:
            header["kept"] = self.prefix.holder
        return StepAsked(
            self.holder,
            self.sha256,
            self.backend,
            header,
            taken_by(self.stage, self.next.framed.tensors, first=self.index == 0),
            self._batch(step),
        )

    @property
    def run(self) -> Hashable | None:
        """The run of its model that its next step may share with those of other sessions."""
        batch = self._batch(self._step(self.next)) if self.next is not None else None
        return (self.sha256, self.backend, batch) if batch is not None else None

    def _batch(self, step: Step) -> int | None:
        return batch_of(self.stage, step) if self.batches else None

    def given(self, worker: BrowserWorker, reply: Reply | Refusal) -> Call:
        """What the page gave, to be passed on.

        Raises:
            Lost: it must be replayed elsewhere.
            RedisError: the store does not answer; the same step may be asked for again.
        """
        assert self.next is not None, "a stage without input has no step"
        if isinstance(reply, BrowserError):
            worker.holding.step_failed(self.sha256, reply)
            raise Lost(reply.judged.category, str(reply)) from reply
        if isinstance(reply, NotLoaded | StepRefused):
            code = reply.code if isinstance(reply, StepRefused) else ""
            raise Lost(
                self._refused(code), f"{worker.id} has its cache no more: {reply}"
            ) from reply
        step = self._step(self.next)
        if self.next.stride is not None:
            return self._strode(step, self.next.stride, reply)
        call = self._pass_on(step, reply)
        self.caught_up(worker.id, step.sure)  # unless what was lost elsewhere is lost here, too
        return call

    def _refused(self, verdict: str) -> Category:
        """What it means; a kept cache may be given up before the session begins with it: nobody's fault."""
        begins = self.prefix is not None and self.place is None
        return Category.TENSOR_LOST if begins and verdict == Verdict.NO_CACHE else Category.INTERNAL

    def passed(self, appended: Appended | RedisError, call: Call, beside_s: float = 0.0) -> None:
        """The step is done, if what it gave was taken; `beside_s`: how long a step of each other one takes.

        Raises:
            Lost: it must be replayed elsewhere.
            Closed: nobody wants it.
            RedisError: the store did not take it.
        """
        if isinstance(appended, RedisError):
            raise appended
        assert self.next is not None, "a stage without input has no step"
        step = self._step(self.next)
        self._outcomes.judge(appended, call, self.cursor)
        self.place, self.cursor, self.used = after(step), self.next.entry, time.monotonic()
        self.next = None
        self._allow(beside_s)
        self._say_where()

    def allow_anew(self) -> None:
        """Others came or went: how long a step may take is to be said again."""
        self._unsaid = 0

    def _allow(self, beside_s: float) -> None:
        """Now and then tell the control worker how long a step may take here, behind those of others."""
        within = self.times.within_s(beside_s)
        if within is None or self.takeover is not None or self.follows:
            return
        if self._unsaid == 0:
            streams.allow(self.session, self.index, self.epoch, within)
            self._said = True
        self._unsaid = (self._unsaid + 1) % _ALLOW_EVERY

    def _say_where(self) -> None:
        """Now and then say how far it is, where nothing that it gives tells: others gave it before."""
        now = time.monotonic()
        if (self.follows or self.takeover is not None) and now - self._said_where >= SAY_EVERY_S:
            streams.say_where(self.session, self.index, self.epoch, self._position)
            self._said_where = now

    @property
    def _position(self) -> int:
        """Up to where it has computed, without what was drafted."""
        assert self.place is not None, "a step was computed"
        return self.place.position - self.place.drafted

    def waits(self) -> None:
        """Take that back until its next step, which comes after something longer here."""
        if self._said:
            streams.allow(self.session, self.index, self.epoch, self.timeout_s)
            self._unsaid, self._said = 0, False

    def _step(self, given: Input) -> Step:
        framed = given.framed
        return Step(self.epoch, framed.start, framed.count, len(framed.drafted))

    def _top_k(self, step: Step) -> int | None:
        """How many logits are wanted; None: the prompt goes on."""
        if self.writer is None:
            return None
        index = self.writer.index_after(step.sure)
        return None if index < 0 else self.writer.needs(index)

    # --- what comes of it ---

    def _pass_on(self, step: Step, reply: Reply) -> Call:
        session, index, epoch = self.session, self.index, self.epoch
        assert self.next is not None, "a stage without input has no step"
        drafted = self.next.framed.drafted
        if self.writer is None:
            memory = memory_in(self.stage, self.next.framed.tensors, first=self.index == 0)
            tensors = [*reply[1], *memory]
            frame = frame_of(Framed(step.start, step.count, tensors, drafted))
            return streams.append(
                session, index, epoch, step.sure, frame, step_ms=_step_ms(step, reply)
            )
        if self.writer.index_after(step.sure) < 0:
            return streams.nothing(session, index, epoch)
        return self._write(self.writer, step, drafted, reply)

    def _strode(self, step: Step, stride: Stride, reply: Reply) -> Call:
        """All that several steps give is known: it must be the same."""
        first = self.writer.index_after(step.sure) if self.writer is not None else 0
        if not is_same_stride(stride, reply, self.writer, first):
            raise Lost(Category.WRONG_ANSWER, OTHERWISE.format(self.index, self.cursor))
        return streams.nothing(self.session, self.index, self.epoch)

    def _write(self, writer: Writer, step: Step, drafted: Sequence[int], reply: Reply) -> Call:
        index = writer.index_after(step.sure)
        try:
            run = writer.write(index, tops(reply, complete=writer.needs(index) == 0), drafted)
        except Unfollowable as error:
            raise Lost(Category.INVALID_INPUT, str(error)) from error
        except Undrawable as error:
            raise Lost(Category.REFUSED, str(error)) from error
        told = index + len(run.picks)
        feed, ended = None, None
        if run.ending is None:
            start = step.sure + len(run.picks) - 1
            frame = tokens_frame(start, [run.picks[-1].token], drafted=writer.drafts())
            feed = (start + 1, frame)
        else:
            ended = self._ended(run.ending, writer, told)
        return streams.tell_tokens(
            self.session,
            self.index,
            self.epoch,
            index,
            [telling.pick_to_json(pick) for pick in run.picks],
            feed=feed,
            ended=ended,
            step_ms=_step_ms(step, reply),
            drafted=len(drafted),
        )

    def _ended(self, ending: Ending, writer: Writer, tokens: int) -> Ended:
        cached = self.prefix.length if self.prefix is not None else 0
        return Ended(ending, len(writer.asked.prompt), tokens, cached)

    # --- a standby ---

    def look(self, browser: str) -> None:
        """Go on as the one that has the stage, if a standby's epoch has become the stage's.

        Raises:
            Lost, Closed: as `passed`.
            RedisError: the store does not answer; it is to look again.
        """
        said = streams.standing(self.session, self.index, self.epoch)
        if said is Said.FOLLOWS:
            return
        if said is not Said.NEW:
            raise Closed
        self.takeover = streams.taken(self.session, self.index)
        self.settle()
        if self.catch_up is not None and self.takeover is not None:  # it may have been slower
            self.catch_up = CatchUp(self.catch_up.prompt, self.takeover.until)
        self.follows = False
        if self.place is not None:
            self.caught_up(browser, self._position)

    def settle(self) -> None:
        """Have what it is ahead with compared, or given; else it is `ahead` still.

        Raises:
            Lost, Closed, RedisError: as `passed`.
        """
        if self.ahead:
            self._outcomes.settle(self._position, self.cursor)


def _step_ms(step: Step, reply: Reply) -> float:
    """What a step of one token, and of those drafted after it, took to compute; 0 for others.

    Of a run that steps of several texts were computed in, its share: so what all texts say adds up.
    """
    if step.sure - step.start != 1:
        return 0.0
    spent = reply[0]
    return float(spent["compute_ms"]) / spent.get("together", 1)
