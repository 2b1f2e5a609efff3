"""Sessions in ledger and store without a browser: what a worker says of them, what was told."""

from __future__ import annotations

from typing import Any

from browsers.redis import client
from inference.core.generation import telling
from inference.core.generation.asked import Asked, Ended
from inference.core.generation.sampled import Pick
from inference.generation import frames, serving, streams
from inference.generation.exchange import Exchange
from inference.generation.scripts import Call
from inference.generation.streams import Appended, Said
from inference.models import GenerationSession, OnnxModel

PROMPT = (72, 101, 108, 108, 111)


def begin(model: OnnxModel, stages: int = 2, owner: str = "", **asked: Any) -> GenerationSession:
    session = serving.start(model, Asked(PROMPT, 10, shards=stages, **asked), owner)
    return GenerationSession.objects.get(pk=session)


def write(session: GenerationSession, index: int, token: int, ended: Ended | None = None) -> Said:
    """What the last of two stages says of a token."""
    last = session.stages.get(index=1)
    position = len(PROMPT) + index
    feed = None if ended else (position + 1, frames.tokens_frame(position, [token]))
    pick = telling.pick_to_json(Pick(token, -1.0))
    call = streams.tell_tokens(
        str(session.pk), 1, last.epoch, index, [pick], feed=feed, ended=ended
    )
    return passed_on(call).said


def passed_on(call: Call) -> Appended:
    (answer,) = Exchange().pass_on([call], {streams.wake_key("nobody"): "0-0"}, 0)
    assert isinstance(answer, Appended)
    return answer


def heard(session: GenerationSession, after: int = 0) -> list[Any]:
    """Everything up to now."""
    found = streams.events_after(str(session.pk), f"{after}-0")
    return [telling.from_json(raw, int(entry.split("-")[0])) for entry, raw in found]


def entries(session: GenerationSession, stage: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """What a stage was given."""
    found: Any = client().xrange(streams.in_key(str(session.pk), stage))
    return list(found)


def stages(session: GenerationSession) -> list[tuple[str, int]]:
    return [(row.browser, row.epoch) for row in session.stages.all()]
