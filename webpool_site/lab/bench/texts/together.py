"""Eight texts at once beside one, with a real language model: what their common runs bring."""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator
from typing import Final

from django.core.management import call_command

from inference.models import OnnxModel
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Table
from webpool_site.lab.bench.texts.written import Written, write, write_at_once

_MODEL: Final = "smollm2"
_TEXTS, _TOKENS, _TIMES = 8, 48, 3
_PROMPT: Final = 16  # tokens


def measure(pool: Pool) -> Iterator[Table]:
    """One text and eight in turns; tokens a second of all with their prompts, and while they are written."""
    call_command("add_sample", _MODEL, stdout=io.StringIO())
    model = OnnxModel.objects.get(name=_MODEL)
    for stages in range(1, min(2, len(pool.ids)) + 1):
        yield _table(model, stages, pool.ids[:stages])


def _table(model: OnnxModel, stages: int, browsers: list[str]) -> Table:
    write(model, _prompt(0), 4, stages=stages, browsers=browsers)  # loaded and proved
    alone: list[tuple[list[Written], float]] = []
    together: list[tuple[list[Written], float]] = []
    for time_ in range(_TIMES):
        for told, texts in ((alone, 1), (together, _TEXTS)):
            prompts = [_prompt(1 + time_ * _TEXTS + text) for text in range(texts)]
            told.append(write_at_once(model, prompts, _TOKENS, stages=stages, browsers=browsers))
    lines = [_line(1, alone), _line(_TEXTS, together)]
    ratio = tuple(lines[1][column] / lines[0][column] for column in (3, 4))
    where = ", ".join(browsers)
    return Table(
        f"text: several at once ({_MODEL}, {_TOKENS} tokens, stages: {stages}, {where}, wasm)",
        ("texts at once", "first token ms", "ms per token", "tokens/s while written", "tokens/s, all"),
        (*lines, (f"{_TEXTS} over 1", None, None, *ratio)),
    )  # fmt: skip


def _line(
    texts: int, told: list[tuple[list[Written], float]]
) -> tuple[int, float, float, float, float]:
    """Medians over the times that it was done."""
    per_token = statistics.median(each.per_token for written, _ in told for each in written)
    first = statistics.median(each.first for written, _ in told for each in written)
    return (
        texts,
        first,
        per_token,
        texts * 1000 / per_token,
        statistics.median(rate for _, rate in told),
    )


def _prompt(seed: int) -> tuple[int, ...]:
    """Words of no kept prompt."""
    return tuple(1000 + seed * _PROMPT + place for place in range(_PROMPT))
