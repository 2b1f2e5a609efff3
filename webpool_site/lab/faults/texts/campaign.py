"""Texts that are hurt at random while they are written: each must be the one that nobody hurts.

A small decoder is cut into as many stages as the pool has browsers, three at most. Texts are written several
at once, every other one with standbys. Each round is hurt one to five times, at random tokens: a part of a
browser that holds a stage, or a service, is killed or stopped (SIGSTOP, and nobody continues it).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from inference.catalog import decoders, registry
from inference.core.generation.asked import Asked, Ending
from inference.generation import report
from inference.graph.decoding.reference import Native
from inference.models import ModelType, OnnxModel
from inference.zoo import decoder
from webpool_site.lab.faults.health import wait_whole
from webpool_site.lab.faults.report import percentile
from webpool_site.lab.faults.texts import prompts
from webpool_site.lab.faults.texts.hurting import Hearing, Pause, round_of

NAME = "generation"
TOKENS, AT_ONCE = 512, 4
_MODEL = "faults-writer"
_CONTEXT, _MOST_KILLS = 2048, 5
MOST_TOKENS = _CONTEXT - prompts.TOKENS
_WHOLE_WITHIN_S = 300.0  # several browsers may have to be started, one after the other


@dataclasses.dataclass(frozen=True)
class _Text:
    """One text; `right`: its tokens are onnxruntime's; `in_order`: each was told once, in order."""

    right: bool
    in_order: bool
    standbys: int
    ending: str
    error: str
    hits: int
    pauses: tuple[Pause, ...]
    recoveries: tuple[str, ...]


def hurt(
    *,
    home: Path,
    browsers: Sequence[str],
    texts: int,
    tokens: int,
    at_once: int,
    random: Random,
    say: Callable[[str], object],
) -> Iterator[dict[str, Any]]:
    """Have so many texts written, some at once, each hurt; gives the figures up to each round as JSON.

    Raises:
        NotHealed: the pool did not become whole again between two rounds.
    """
    model, native = registered()
    stages = min(len(browsers), 3)
    written: list[_Text] = []
    while len(written) < texts:
        wait_whole(home, browsers, timeout_s=_WHOLE_WITHIN_S)
        numbers = range(len(written), min(texts, len(written) + at_once))
        right = dict(prompts.draw(native, random, tokens) for _ in numbers)
        asked = [
            Asked(prompt, tokens, ignore_end=True, shards=stages, standbys=number % 2)
            for number, prompt in zip(numbers, right, strict=True)
        ]
        kills = random.randint(1, _MOST_KILLS)
        for hearing in round_of(model, asked, home, kills, random):
            written.append(_text(hearing, right[hearing.asked.prompt]))
            say(f"  {NAME} {len(written)} of {texts}: {_line(written[-1])}")
        yield _figures(written, tokens, stages)
    wait_whole(home, browsers, timeout_s=_WHOLE_WITHIN_S)


def registered() -> tuple[OnnxModel, Native]:
    """A small decoder, and the same one on native onnxruntime."""
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.tiny(context=_CONTEXT).save(Path(folder) / "model.onnx")
        model = registry.add_model(path, name=_MODEL, model_type=ModelType.TEXT, drawn=True)
        whole = decoders.decoder_of(model).whole
        return model, Native([(path, whole)])


def _text(hearing: Hearing, right: Sequence[int]) -> _Text:
    asked, ended = hearing.asked, hearing.ended
    assert ended is not None, "a round ends with its texts"
    recoveries = report.of_session(hearing.session)["recoveries"]
    return _Text(
        right=hearing.tokens == right,
        in_order=hearing.indices == list(range(len(hearing.indices))),
        standbys=asked.standbys,
        ending=ended.ending,
        error=ended.error,
        hits=sum(hits for _, hits in hearing.hit),
        pauses=tuple(hearing.pauses()),
        recoveries=tuple(f"{each['how']} {each['category']}".strip() for each in recoveries),
    )


def _figures(written: Sequence[_Text], tokens: int, stages: int) -> dict[str, Any]:
    pauses: dict[tuple[str, str], list[Pause]] = defaultdict(list)
    for text in written:
        for pause in text.pauses:
            pauses[pause.what, pause.way].append(pause)
            pauses["all", pause.way].append(pause)
    return {
        "texts": len(written),
        "with_standbys": sum(bool(text.standbys) for text in written),
        "tokens": tokens,
        "stages": stages,
        "hurt": sum(bool(text.hits) for text in written),
        "kills": sum(text.hits for text in written),
        "right": sum(text.right and text.in_order for text in written),
        "lost": sum(text.ending != Ending.LENGTH for text in written),
        "wrong": sum(text.ending == Ending.LENGTH and not text.right for text in written),
        "repeated": sum(not text.in_order for text in written),
        "errors": [text.error for text in written if text.error],
        "recoveries": dict(Counter(each for text in written for each in text.recoveries)),
        "pause_ms": {
            f"{what}, {way}": _percentiles(each) for (what, way), each in sorted(pauses.items())
        },
    }


def _percentiles(pauses: Sequence[Pause]) -> dict[str, Any]:
    """Of the pauses, and of their parts (hurting.py); null where nothing was measured."""

    def p50(part: str) -> float | None:
        known = [getattr(each, part) for each in pauses]
        return percentile([1000 * each for each in known if each is not None], 50)

    return {
        "n": len(pauses),
        "p50": p50("longest_s"),
        "p95": percentile([1000 * each.longest_s for each in pauses], 95),
        "noticed_p50": p50("noticed_s"),
        "opened_p50": p50("opened_s"),
        "resumed_p50": p50("resumed_s"),
    }


def _line(text: _Text) -> str:
    word = "right" if text.right and text.in_order else f"NOT RIGHT, {text.ending} {text.error}"
    kills = ", ".join(f"{each.what} {each.longest_s:.2f} s ({each.way})" for each in text.pauses)
    told = f", {text.standbys} standby" if text.standbys else ""
    return f"{word}{told}; longest pause after each kill: {kills or 'none hit it'}"
