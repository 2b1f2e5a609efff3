"""A stage's log in the pool's store, of a text that nobody writes, and its replay as recovery does it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from browsers.bridge import Reply
from browsers.core.protocol import WireTensor
from browsers.session import BrowserSession
from browsers.session.decoding import StepAsked
from inference.core.generation import telling
from inference.core.generation.sampled import Pick
from inference.core.generation.stages import Stage
from inference.core.generation.step_times import StepTimes
from inference.generation import frames, placing, scripts, streams
from inference.generation.exchange import Exchange
from inference.generation.stage import HeldStage
from inference.generation.takeover.comparing import is_same_stride
from inference.generation.takeover.strides import CatchUp
from inference.store.tensors import decode_array, encode_array

PROMPT: Final = 8
"""Tokens of the text's prompt: one step of the log."""
STEP_S: Final = 120.0
HOLDER: Final = "bench"
_EPOCH: Final = 1


@dataclass(frozen=True)
class Subject:
    """The first stage of a decoder, which passes hidden tensors on to the next."""

    name: str
    sha256: str
    stage: Stage
    vocabulary: int


@dataclass(frozen=True)
class Log:
    """Steps of one token after a prompt; the last one's is the next that the stage owes."""

    session: str
    subject: Subject
    tokens: tuple[int, ...]

    @property
    def until(self) -> int:
        """How many positions were computed before the stage was lost."""
        return len(self.tokens) - 1


def write_log(subject: Subject, tokens: tuple[int, ...], hidden: Sequence[WireTensor]) -> Log:
    """The log of these tokens; `hidden`: what the next stage was given of all but the last, by position."""
    log = Log(str(uuid.uuid4()), subject, tokens)
    written = tokens[PROMPT:]
    told = [telling.pick_to_json(Pick(token, -1.0)) for token in written]
    steps = frames.first_stage(tokens[:PROMPT], written)
    streams.begin(log.session, [_EPOCH, _EPOCH], steps, told)
    for start, number in _places(log.until):
        frame = frames.frame_of(_part(hidden, start, number))
        scripts.run(streams.append(log.session, 0, _EPOCH, number, frame))
    return log


def drop_log(log: Log) -> None:
    """Nobody replays it any more."""
    streams.drop(log.session, 2)


def _places(length: int) -> Iterator[tuple[int, int]]:
    """From where to where each step of the log goes."""
    yield 0, PROMPT
    yield from ((start, start + 1) for start in range(PROMPT, length))


def _part(hidden: Sequence[WireTensor], start: int, end: int) -> frames.Framed:
    rows = [encode_array(each.name, decode_array(each)[:, start:end]) for each in hidden]
    return frames.Framed(start, end - start, rows)


def replay(browser: BrowserSession, log: Log) -> tuple[Reply, int]:
    """Compute all of the log and the step that is owed: what that gave, and how many steps it took.

    Raises:
        RuntimeError: a stride gave something else than the log has.
    """
    held, exchange, steps = _held(log), Exchange(), 0
    while True:
        ((_, ((entry, fields),)),) = exchange.wait({held.key: held.cursor}, 0)
        held.came(entry.decode(), fields[streams.FRAME])
        reply, steps = asked(browser, held.ask()), steps + 1
        assert held.next is not None, "its input came"
        if held.next.framed.start == log.until:
            return reply, steps
        stride = held.next.stride
        if stride is not None and not is_same_stride(stride, reply, None, 0):
            raise RuntimeError(f"{log.subject.name}: a stride gave something else than the log has")
        call = streams.nothing(log.session, 0, _EPOCH)
        (said,) = exchange.pass_on([call], {held.key: held.next.entry}, 0)
        held.passed(said, call)


def asked(browser: BrowserSession, step: StepAsked) -> Reply:
    """What the page gives of one step."""
    (reply,) = browser.decoding.steps([step], timeout_s=STEP_S)
    if isinstance(reply, Exception):
        raise reply
    return reply


def _held(log: Log) -> HeldStage:
    """The stage as a worker has it that replays it."""
    subject = log.subject
    return HeldStage(
        session=log.session,
        index=0,
        stages=2,
        epoch=_EPOCH,
        sha256=subject.sha256,
        stage=subject.stage,
        backend=placing.WASM,
        timeout_s=STEP_S,
        times=StepTimes(STEP_S),
        shelf="",
        mb_per_position=placing.mb_per_position(subject.stage),
        batches=False,
        catch_up=CatchUp(PROMPT, log.until),
    )


def any_tokens(vocabulary: int, count: int) -> tuple[int, ...]:
    """The same ones each time."""
    return tuple(np.random.default_rng(0).integers(0, vocabulary, count).tolist())
