"""One stage of one session in the browser that this worker owns: its next step, computed and passed on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from browsers import clock
from browsers.bridge import NotLoaded, Reply, StepRefused
from browsers.core.errors import BrowserError
from browsers.core.failures import Category
from browsers.core.protocol import WireTensor
from browsers.worker import BrowserWorker
from inference.core.generation import telling
from inference.core.generation.asked import Ended, Resumed
from inference.core.generation.sampled import TopLogits
from inference.core.generation.sessions import Place, Step, after, judge
from inference.core.generation.stages import Stage, Use
from inference.core.generation.step_times import StepTimes
from inference.core.generation.writing import Writer
from inference.documents import JsonObject
from inference.generation import streams
from inference.generation.frames import frame_of, read_frame, tokens_frame
from inference.generation.streams import Appended, Said
from inference.store.tensors import decode_array, encode_array

_ALLOW_EVERY: Final = 32  # steps


class Lost(Exception):
    """The stage cannot go on here; somebody else replays it."""

    def __init__(self, category: Category, why: str) -> None:
        super().__init__(why)
        self.category = category


class Closed(Exception):
    """Nobody wants the stage here any more."""


@dataclass
class Takeover:
    """The stage was lost elsewhere at `began` (Unix time); it has caught up at position `until`."""

    began: float
    how: str
    until: int


@dataclass
class HeldStage:
    """A stage that is loaded here; `writer`: in the last stage; `cursor`: the last input computed.

    A step that takes longer than the stage's own did is late (`times`); before there are enough of them,
    and where the browser computes something else first, after `timeout_s`.
    """

    session: str
    index: int
    epoch: int
    sha256: str
    stage: Stage
    backend: str
    timeout_s: float
    times: StepTimes
    writer: Writer | None = None
    takeover: Takeover | None = None
    place: Place | None = None
    cursor: str = "0-0"
    used: float = field(default_factory=time.monotonic)
    _unsaid: int = 0

    @property
    def holder(self) -> str:
        """Its cache's name in the page."""
        return f"{self.session}:{self.index}"

    def caught_up(self, browser: str, position: int) -> None:
        """Tell, once, that a stage that was lost goes on here."""
        takeover = self.takeover
        if takeover is None or position < takeover.until:
            return
        seconds = clock.now().timestamp() - takeover.began
        event = Resumed(self.index, browser, takeover.how, seconds)
        streams.resumed(self.session, self.index, self.epoch, event)
        streams.tell_control(
            {
                "what": "resumed",
                "session": self.session,
                "stage": self.index,
                "epoch": self.epoch,
                "seconds": seconds,
            }
        )
        self.takeover = None

    def step(self, worker: BrowserWorker, entry: str, frame: bytes) -> None:
        """Compute the next input and pass on what comes of it.

        Raises:
            Lost: it must be replayed elsewhere.
            Closed: nobody wants it.
            RedisError: the store does not answer; the same step may be asked for again.
        """
        start, count, tensors = read_frame(frame)
        step = Step(self.epoch, start, count)
        verdict = judge(self.place, step)
        if verdict.refused:
            raise Lost(Category.INTERNAL, f"{verdict}: {step} does not follow {self.place}")
        reply = self._compute(worker, step, tensors)
        self.caught_up(worker.id, step.end)
        self._judged(self._pass_on(step, reply))
        self.place, self.cursor, self.used = after(step), entry, time.monotonic()
        self._allow()

    def _allow(self) -> None:
        """Now and then tell the control worker how long a step may take here."""
        within = self.times.within_s()
        if within is None or self.takeover is not None:
            return
        if self._unsaid == 0:
            streams.allow(self.session, self.index, self.epoch, within)
        self._unsaid = (self._unsaid + 1) % _ALLOW_EVERY

    def _compute(self, worker: BrowserWorker, step: Step, tensors: list[WireTensor]) -> Reply:
        header: JsonObject = {
            "epoch": step.epoch,
            "start": step.start,
            "count": step.count,
            "top_k": self._top_k(step),
        }
        if step.start == 0:
            header["stage"] = self.stage.to_json()
        # While the worker's main thread is at work the step waits for its turn.
        measured = step.count == 1 and worker.status.idle_since is not None
        within = self.times.within_s() if measured else None
        began = time.monotonic()
        try:
            reply = worker.session.decoding.step(
                self.holder,
                self.sha256,
                header,
                self._named(tensors),
                backend=self.backend,
                timeout_s=within or self.timeout_s,
            )
        except (NotLoaded, StepRefused) as refused:
            raise Lost(
                Category.INTERNAL, f"{worker.id} has its cache no more: {refused}"
            ) from refused
        except BrowserError as error:
            worker.holding.step_failed(self.sha256, error)
            raise Lost(error.category, str(error)) from error
        if measured:
            self.times.note(time.monotonic() - began)
        return reply

    def _top_k(self, step: Step) -> int | None:
        """How many logits are wanted; None: the prompt goes on."""
        if self.writer is None or self.writer.index_after(step.end) < 0:
            return None
        return self.writer.needs

    def _named(self, tensors: list[WireTensor]) -> list[WireTensor]:
        """Tokens as the stage's input wants them; hidden tensors have its names already."""
        if self.index:
            return tensors
        array = decode_array(tensors[0])
        return [
            encode_array(item.name, array.astype(item.dtype))
            for item in self.stage.inputs
            if item.use is Use.TOKENS
        ]

    # --- what comes of it ---

    def _pass_on(self, step: Step, reply: Reply) -> Appended:
        if self.writer is None:
            frame = frame_of(step.start, step.count, reply[1])
            said = streams.append(
                self.session, self.index, self.epoch, step.end, frame, step_ms=_step_ms(step, reply)
            )
            if said.said is Said.HAD and said.had != frame:
                raise Lost(Category.WRONG_ANSWER, self._differs(f"position {step.end}"))
            return said
        if self.writer.index_after(step.end) < 0:
            return Appended(streams.standing(self.session, self.index, self.epoch))
        return self._write(self.writer, step, reply)

    def _write(self, writer: Writer, step: Step, reply: Reply) -> Appended:
        index = writer.index_after(step.end)
        pick, ending = writer.write(index, _top(reply, complete=writer.needs == 0))
        document = telling.pick_to_json(pick)
        said = streams.tell_token(
            self.session,
            self.index,
            self.epoch,
            index,
            document,
            feed=None if ending else (step.end + 1, tokens_frame(step.end, [pick.token])),
            ended=Ended(ending, len(writer.asked.prompt), index + 1) if ending else None,
            step_ms=_step_ms(step, reply),
        )
        if said.said is Said.HAD and telling.token_of(said.had) != pick.token:
            raise Lost(Category.WRONG_ANSWER, self._differs(f"token {index}"))
        return said

    def _differs(self, what: str) -> str:
        return f"stage {self.index} gave another {what} than the browser that had it before"

    def _judged(self, appended: Appended) -> None:
        match appended.said:
            case Said.NEW | Said.HAD:
                return
            case Said.STALE | Said.ENDED:
                raise Closed
            case Said.GONE:
                raise Lost(Category.TENSOR_LOST, "the store has lost the session")
            case Said.GAP:
                raise Lost(Category.INTERNAL, "a later step was passed on already")


def _step_ms(step: Step, reply: Reply) -> float:
    """What a step of one token took to compute; 0 for others."""
    return float(reply[0]["compute_ms"]) if step.count == 1 else 0.0


def _top(reply: Reply, *, complete: bool) -> TopLogits:
    header, tensors = reply
    found = {tensor.name: decode_array(tensor) for tensor in tensors}
    if complete:  # in the order of their ids
        return TopLogits.of_row(found["logits"])
    ids = found["ids"].astype(np.int64)
    return TopLogits(ids, found["logits"], header["log_sum"], complete=False)
