"""Texts that are hurt at random while they are written: each must be the one that nobody hurts.

A small decoder is cut into as many stages as the pool has browsers. Each text is hurt one to five times, at
random tokens: a part of a browser that holds one of its stages, or a service, is killed or stopped (SIGSTOP,
and nobody continues it).
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil
import redis.exceptions

from browsers.state.live import living
from inference.catalog import decoders, registry
from inference.core.generation.asked import Asked, Ended, Ending, TokenWritten
from inference.generation import report, serving
from inference.graph.decoding.reference import Native
from inference.models import GenerationSession, ModelType, OnnxModel
from inference.zoo import decoder
from webpool_site.lab.faults.campaign import OWNER
from webpool_site.lab.faults.health import wait_whole
from webpool_site.lab.faults.injection import Fault, inject
from webpool_site.lab.faults.report import percentile
from webpool_site.lab.faults.targets import SERVICES, NoTarget, Target, Targets

NAME = "generation"
_MODEL = "faults-writer"
_PROMPT, _TOKENS, _MOST_KILLS = 16, 64, 5
_WHOLE_WITHIN_S = 300.0  # several browsers may have to be started, one after the other
_KILLED = (
    Target.PAGE, Target.GPU, Target.BROWSER, Target.DRIVER, Target.WORKER, Target.CONTROL, Target.VALKEY,
    Target.WEB,
)  # fmt: skip
_STOPPED = (Target.PAGE, Target.BROWSER, Target.WORKER, Target.CONTROL)
_BLOWS = (*((each, Fault.KILL) for each in _KILLED), *((each, Fault.STOP) for each in _STOPPED))


@dataclasses.dataclass(frozen=True)
class _Kill:
    """What was hurt, and the longest pause between two tokens from then to the next blow."""

    what: str
    pause_s: float


@dataclasses.dataclass(frozen=True)
class _Text:
    """One text; `right`: its tokens are onnxruntime's; `in_order`: each was told once, in order."""

    right: bool
    in_order: bool
    ending: str
    error: str
    kills: tuple[_Kill, ...]
    recoveries: tuple[str, ...]


def hurt(
    *,
    home: Path,
    browsers: Sequence[str],
    texts: int,
    random: Random,
    say: Callable[[str], object],
) -> Iterator[dict[str, Any]]:
    """Have so many texts written, one after another, each hurt; gives the figures up to each as JSON.

    Raises:
        NotHealed: the pool did not become whole again between two of them.
    """
    model, native = registered()
    stages = min(len(browsers), 3)
    written: list[_Text] = []
    for number in range(texts):
        wait_whole(home, browsers, timeout_s=_WHOLE_WITHIN_S)
        written.append(_one(model, native, home, stages, random))
        say(f"  {NAME} {number + 1} of {texts}: {_line(written[-1])}")
        yield _figures(written, stages)
    wait_whole(home, browsers, timeout_s=_WHOLE_WITHIN_S)


def registered() -> tuple[OnnxModel, Native]:
    """A small decoder, and the same one on native onnxruntime."""
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.tiny().save(Path(folder) / "model.onnx")
        model = registry.add_model(path, name=_MODEL, model_type=ModelType.TEXT)
        whole = decoders.decoder_of(model).whole
        return model, Native([(path, whole)])


def _one(model: OnnxModel, native: Native, home: Path, stages: int, random: Random) -> _Text:
    prompt = [random.randrange(256) for _ in range(_PROMPT)]
    native.restart()
    right = native.greedy(prompt, _TOKENS)
    kills = sorted(random.sample(range(1, _TOKENS - 1), random.randint(1, _MOST_KILLS)))
    session = serving.start(
        model, Asked(tuple(prompt), _TOKENS, ignore_end=True, shards=stages), OWNER
    )
    heard: list[int] = []
    indices: list[int] = []
    pauses: list[tuple[str, list[float]]] = []
    before = time.monotonic()
    ended = Ended(Ending.FAILED, 0, 0)
    for event in serving.listen(session):
        if isinstance(event, Ended):
            ended = event
        if not isinstance(event, TokenWritten):
            continue
        now = time.monotonic()
        if pauses:
            pauses[-1][1].append(now - before)
        before = now
        heard.append(event.pick.token)
        indices.append(event.index)
        if kills and event.index >= kills[0]:
            kills.pop(0)
            if what := _hurt(home, session, random):
                pauses.append((what, []))
    recoveries = report.of_session(session)["recoveries"]
    return _Text(
        right=heard == right,
        in_order=indices == list(range(len(indices))),
        ending=ended.ending,
        error=ended.error,
        kills=tuple(_Kill(what, max(each)) for what, each in pauses if each),
        recoveries=tuple(f"{each['how']} {each['category']}".strip() for each in recoveries),
    )


def _hurt(home: Path, session: str, random: Random) -> str:
    """Kill or stop something that the text needs, and say what; empty: it was being started anew.

    Where no other browser is ready at that moment the text waits until one is: that is said, too.
    """
    stages = GenerationSession.objects.get(pk=session).stages
    holding = [browser for browser in stages.values_list("browser", flat=True) if browser]
    browser = random.choice(holding) if holding else ""
    target, fault = random.choice(_BLOWS)
    said = f"{target} stopped" if fault is Fault.STOP else target.value
    with contextlib.suppress(NoTarget, psutil.NoSuchProcess, redis.exceptions.RedisError):
        ready = {each.id for each in living().values() if each.state == "ready"}
        inject(Targets(home).find(target, browser), fault)
        return said if ready - {"" if target in SERVICES else browser} else f"{said}, none left"
    return ""


def _figures(written: Sequence[_Text], stages: int) -> dict[str, Any]:
    pauses: dict[str, list[float]] = defaultdict(list)
    for text in written:
        for kill in text.kills:
            pauses[kill.what].append(1000 * kill.pause_s)
    return {
        "texts": len(written),
        "tokens": _TOKENS,
        "stages": stages,
        "kills": sum(len(text.kills) for text in written),
        "right": sum(text.right and text.in_order for text in written),
        "lost": sum(text.ending != Ending.LENGTH for text in written),
        "wrong": sum(text.ending == Ending.LENGTH and not text.right for text in written),
        "repeated": sum(not text.in_order for text in written),
        "errors": [text.error for text in written if text.error],
        "recoveries": dict(Counter(each for text in written for each in text.recoveries)),
        "pause_ms": {
            what: {"n": len(each), "p50": percentile(each, 50), "p95": percentile(each, 95)}
            for what, each in sorted(pauses.items())
        },
    }


def _line(text: _Text) -> str:
    word = "right" if text.right and text.in_order else f"NOT RIGHT, {text.ending} {text.error}"
    kills = ", ".join(f"{kill.what} {kill.pause_s:.2f} s" for kill in text.kills)
    return f"{word}; longest pause after each kill: {kills or 'none was dealt'}"
