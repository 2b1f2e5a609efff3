"""What a session's stages and listeners tell one another, in Redis streams.

Redis keys
    webpool:gen:<session>:fence       hash: stage → its epoch; ms:<stage> → what its steps of one token took
                                      to compute so far, of shared runs its part; within:<stage> → how long
                                      its next one may take, ms;
                                      at:<stage>:<epoch> → how far who follows or catches up is, in positions;
                                      off:<stage>:<epoch> → that standby is given up;
                                      taken:<stage> → when it was given on, and how far it was, for a standby;
                                      drafted, kept → positions that were drafted, and that were right;
                                      `begun` → which beginning of the session this is; `ended` once it has;
                                      `anew`: it is being begun anew, and is not until this is gone
    webpool:gen:<session>:in:<stage>  stream of the stage's inputs, each under <positions after what is not
                                      drafted of it>-0, field f: a frame (inference/generation/frames.py). It
                                      is also the log that a replacement replays. Field `end`: nothing more
                                      comes; `keep`: the cache may serve another session.
    webpool:gen:<session>:out         stream of events (inference/core/generation/telling.py), field e;
                                      field b: the beginning that they belong to
    webpool:gen:told                  list: what the control worker is told, JSON; :hearing what it is at
    webpool:gen:wake:<browser>        stream: that browser's loop has something new to look at

A writer gives its stage and epoch; the same script that appends refuses one whose stage was given to
somebody else, whose session has ended, or is not there. A number is appended once: who computes it again is
given what stands there. A standby has a later epoch than its stage: it is given what stands there, too, and
appends nothing until its epoch is the stage's.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.conf import settings

from browsers.redis import client
from inference.core.generation import control, telling
from inference.core.generation.asked import Ended, Ending, Paused, Resumed
from inference.generation import scripts
from inference.generation.scripts import Call

TOLD: Final = "webpool:gen:told"
HEARING: Final = "webpool:gen:told:hearing"
END: Final = b"end"
KEEP: Final = b"keep"
FRAME: Final = b"f"
GIVEN: Final = 3
"""Which argument of `append` and `tell_tokens` is what they append."""
EVENT: Final = b"e"
BEGUN: Final = b"b"
_LAST: Final = 2**53 - 1  # the number of what ends a stream


def wake_key(browser: str) -> str:
    return f"webpool:gen:wake:{browser}"


def in_key(session: str, stage: int) -> str:
    return f"webpool:gen:{session}:in:{stage}"


def out_key(session: str) -> str:
    return f"webpool:gen:{session}:out"


def _fence_key(session: str) -> str:
    return f"webpool:gen:{session}:fence"


class Said(enum.StrEnum):
    """What became of something that was to be appended."""

    NEW = "new"
    HAD = "had"  # it was there before, and is given
    FOLLOWS = "follows"  # the stage is somebody else's, who has not come so far
    STALE = "stale"  # the stage was given to somebody else
    ENDED = "ended"
    GONE = "gone"  # the store has lost the session
    GAP = "gap"  # something later was appended already


@dataclass(frozen=True)
class Takeover:
    """The stage was lost elsewhere at `began` (Unix time); it has caught up at position `until`."""

    began: float
    how: str
    until: int


@dataclass(frozen=True)
class Appended:
    """`had`: what stood there already."""

    said: Said
    had: bytes = b""


def begin(
    session: str,
    epochs: Sequence[int],
    steps: Sequence[tuple[int, bytes]],
    written: Sequence[str] = (),
    news: Sequence[Paused] = (),
) -> None:
    """Make a session's keys at once: the first stage's inputs, each with the number of positions after it.

    What was there of it before is dropped, so that this also begins one anew: then `written` are the tokens
    that were told before, and `news` is what listeners are told of it.
    """
    drop(session, len(epochs))
    pipe = client().pipeline()
    for number, frame in steps:
        pipe.xadd(in_key(session, 0), {FRAME: frame}, id=f"{number}-0")
    pipe.pexpire(in_key(session, 0), _ttl_ms())
    fields: dict[Any, Any] = {str(stage): epoch for stage, epoch in enumerate(epochs)}
    fields["begun"] = _begun(epochs)
    pipe.hset(_fence_key(session), mapping=fields)
    pipe.pexpire(_fence_key(session), _ttl_ms())
    told = [(f"{number}-0", event) for number, event in enumerate(written, 1)]
    told += [(f"{len(written)}-*", telling.to_json(event)) for event in news]
    for entry, event in told:
        pipe.xadd(out_key(session), {EVENT: event, BEGUN: _begun(epochs)}, id=entry)
    if told:
        pipe.pexpire(out_key(session), _ttl_ms())
    pipe.execute()


def _begun(epochs: Sequence[int]) -> str:
    """Another name for each beginning: whoever begins a session anew has raised its stages' epochs."""
    return ".".join(map(str, epochs))


def drop(session: str, stages: int) -> None:
    """What was begun is not to be."""
    keys = [_fence_key(session), out_key(session)]
    client().unlink(*keys, *(in_key(session, stage) for stage in range(stages)))


def append(
    session: str, stage: int, epoch: int, number: int, frame: bytes, *, step_ms: float = 0.0
) -> Call:
    """A stage's output, as the next one's input; `step_ms`: what its step of one token took."""
    keys = (_fence_key(session), in_key(session, stage + 1))
    args = (stage, epoch, f"{number}-0", frame, _ttl_ms(), step_ms)
    return Call(scripts.APPEND, keys, args)


def nothing(session: str, stage: int, epoch: int) -> Call:
    """A stage gives nothing yet: whether it is still under that epoch."""
    return Call(scripts.STANDS, (_fence_key(session),), (stage, epoch))


def tell_tokens(
    session: str,
    stage: int,
    epoch: int,
    index: int,
    picks: Sequence[str],
    *,
    feed: tuple[int, bytes] | None,
    ended: Ended | None,
    step_ms: float = 0.0,
    drafted: int = 0,
) -> Call:
    """Tokens of the answer from `index` on, by the last stage; and what follows: the next step, or the end.

    `drafted`: how many tokens were drafted for the step that they come of.
    """
    number, frame = feed or (0, b"")
    document = telling.to_json(ended) if ended else ""
    inputs = (in_key(session, each) for each in range(stage + 1))
    keys = (_fence_key(session), out_key(session), TOLD, *inputs)
    args = (stage, epoch, index + 1, telling.joined(picks), f"{number}-0", frame, document)
    rest = (step_ms, len(picks), drafted)
    return Call(scripts.TELL_TOKENS, keys, (*args, *_end_args(session, ended), *rest))


def end(session: str, stages: int, ended: Ended) -> bool:
    """End a session; False: it has ended, or is not there. How many tokens it has is seen here."""
    inputs = (in_key(session, each) for each in range(stages))
    keys = (_fence_key(session), out_key(session), TOLD, *inputs)
    args = (telling.to_json(ended), *_end_args(session, ended))
    return bool(scripts.run(Call(scripts.END, keys, args)))


def let_go(session: str, stages: int) -> None:
    """Of an ended session's inputs no more is kept than that they have ended."""
    pipe = client().pipeline(transaction=False)
    for stage in range(stages):
        pipe.xtrim(in_key(session, stage), maxlen=1, approximate=False)
    pipe.execute()


def give(session: str, stage: int, epoch: int, paused: Paused, takeover: Takeover) -> Said:
    """The stage is somebody else's from now on, which listeners are told.

    `takeover`: what a standby that has it then is to know.
    """
    keys = (_fence_key(session), out_key(session))
    args = (stage, epoch, telling.to_json(paused), _ttl_ms(), json.dumps(asdict(takeover)))
    return Said(scripts.run(Call(scripts.GIVE, keys, args)).decode())


def taken(session: str, stage: int) -> Takeover | None:
    """What a standby that has the stage now is to know of it; None: nobody said."""
    (found,) = client().hmget(_fence_key(session), [f"taken:{stage}"])
    return Takeover(**json.loads(found)) if found else None


def shut_out(session: str, epochs: Sequence[int]) -> None:
    """Who holds a stage under an earlier epoch writes nothing more; what was told stays told."""
    scripts.run(Call(scripts.SHUT_OUT, (_fence_key(session),), tuple(epochs)))


def resumed(session: str, stage: int, epoch: int, event: Resumed) -> None:
    """Tell listeners that the stage goes on, by who has it."""
    keys = (_fence_key(session), out_key(session))
    scripts.run(Call(scripts.NOTE, keys, (stage, epoch, telling.to_json(event), _ttl_ms())))


def epochs(session: str, stages: int) -> list[int] | None:
    """The epoch of each stage as the store has it; None: it has lost the session, or it is begun anew."""
    *found, anew = client().hmget(_fence_key(session), [*map(str, range(stages)), "anew"])
    held = [int(each) for each in found if each is not None]
    return held if anew is None and len(held) == stages else None


def allow(session: str, stage: int, epoch: int, within_s: float) -> None:
    """Say how long the stage's next step of one token may take here."""
    scripts.run(Call(scripts.ALLOW, (_fence_key(session),), (stage, epoch, round(within_s * 1000))))


def allowed_s(session: str, stages: int) -> list[float | None]:
    """How long each stage's next step may take; None: who has it has not said so."""
    found = client().hmget(_fence_key(session), [f"within:{stage}" for stage in range(stages)])
    return [None if each is None else float(each) / 1000 for each in found]


def standing(session: str, stage: int, epoch: int) -> Said:
    """Whether the stage is still under that epoch (NEW: it is), or not yet (FOLLOWS)."""
    names = [str(stage), "ended", f"off:{stage}:{epoch}"]
    held, ended, off = client().hmget(_fence_key(session), names)
    if held is None:
        return Said.GONE
    if ended is not None:
        return Said.ENDED
    if int(held) == epoch:
        return Said.NEW
    return Said.FOLLOWS if int(held) < epoch and off is None else Said.STALE


def give_up(session: str, stage: int, epoch: int) -> None:
    """The standby with that epoch is to follow no more."""
    scripts.run(Call(scripts.NOTE_FIELD, (_fence_key(session),), (f"off:{stage}:{epoch}", 1)))


def say_where(session: str, stage: int, epoch: int, position: int) -> None:
    """How far who has that epoch of the stage has computed."""
    args = (f"at:{stage}:{epoch}", position)
    scripts.run(Call(scripts.NOTE_FIELD, (_fence_key(session),), args))


def where(session: str, holders: Sequence[tuple[int, int]]) -> list[int]:
    """How far those are, by stage and epoch; 0: they have not said so."""
    names = [f"at:{stage}:{epoch}" for stage, epoch in holders]
    return [int(each or 0) for each in client().hmget(_fence_key(session), names)]


def has_ended(session: str) -> bool | None:
    """Whether it has; None: it is not there."""
    pipe = client().pipeline(transaction=False)
    pipe.exists(_fence_key(session))
    pipe.hexists(_fence_key(session), "ended")
    exists, ended = pipe.execute()
    return bool(ended) if exists else None


def begun(session: str) -> bytes | None:
    """Which beginning of the session the store has; None: it is not there."""
    found: Any = client().hget(_fence_key(session), "begun")
    return found if found is None else bytes(found)


def last_numbers(session: str, stages: int) -> list[int]:
    """How far each stage's inputs go, and then how many tokens were written."""
    pipe = client().pipeline(transaction=False)
    for stage in range(stages):
        pipe.xrevrange(in_key(session, stage), count=1)
    pipe.xrevrange(out_key(session), count=1)
    return [int(found[0][0].split(b"-")[0]) if found else 0 for found in pipe.execute()]


def given(numbers: Sequence[int], prompt: int) -> list[int]:
    """By `last_numbers`, up to which position each stage has given something; `prompt`: its tokens."""
    return [*numbers[1:-1], prompt + numbers[-1] - 1]


def spent_ms(session: str, stages: int) -> list[float | None]:
    """What the steps of one token took to compute, by stage; None: it is not kept (any more)."""
    found = client().hmget(_fence_key(session), [f"ms:{stage}" for stage in range(stages)])
    return [None if each is None else float(each) for each in found]


def drafted(session: str) -> tuple[int, int] | None:
    """How many positions were drafted, and how many of them were right; None: it is not kept (any more)."""
    if begun(session) is None:
        return None
    found = client().hmget(_fence_key(session), ["drafted", "kept"])
    return int(found[0] or 0), int(found[1] or 0)


def events_after(session: str, cursor: str) -> list[tuple[str, bytes]]:
    """What was told after that entry."""
    return [(entry, fields[EVENT]) for entry, fields in entries(out_key(session), f"({cursor}")]


def entries(
    key: str, first: str, last: str = "+", count: int | None = None
) -> list[tuple[str, Mapping[bytes, bytes]]]:
    """What a stream has from one entry to another, at most so many."""
    found: Any = client().xrange(key, min=first, max=last, count=count)
    return [(entry.decode(), fields) for entry, fields in found]


def tell_control(message: control.Message) -> None:
    """Tell the control worker, which looks for itself when this is lost."""
    client().lpush(TOLD, control.written(message))


def wake(browser: str) -> None:
    """Have a browser's loop look at its stages."""
    pipe = client().pipeline()
    pipe.xadd(wake_key(browser), {b"w": b""}, maxlen=1, approximate=False)
    pipe.expire(wake_key(browser), 3600)
    pipe.execute()


def _ttl_ms() -> int:
    return int(settings.WEBPOOL_TENSOR_TTL_S * 1000)


def _end_args(session: str, ended: Ended | None) -> tuple[str | int | bytes, ...]:
    if ended is None:
        return (_ttl_ms(), _LAST, b"", b"")
    whole = ended.ending in (Ending.STOP, Ending.LENGTH)
    told = control.written(control.Done(session))
    return (_ttl_ms(), _LAST, told, KEEP if whole else b"")


def appended(answer: list[bytes]) -> Appended:
    """What a script answered whoever appended."""
    return Appended(Said(answer[0].decode()), answer[1] if len(answer) > 1 else b"")
