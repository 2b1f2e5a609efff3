"""What drafted tokens bring: the same texts with and without them, in turns.

Beside the clock, which others on the machine disturb, the processor time of browser and worker is told.
The decoder is made to go on in a known way: each token has one that follows it best.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from django.db import connection

from inference.catalog import registry
from inference.core.generation.asked import Asked, TokenWritten
from inference.core.generation.sampled import Sampling
from inference.documents import Array
from inference.generation import report, serving
from inference.models import ModelType, OnnxModel
from inference.zoo import decoder
from inference.zoo.decoder import DecoderConfig
from inference.zoo.weights import Seeded
from webpool_site.lab.bench import processor
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Table

_CONFIG: Final = DecoderConfig(
    layers=4, hidden=256, heads=8, groups=4, head_size=32, intermediate=768, context=512, tied=False,
    embedding_scale=4.0,
)  # fmt: skip
_ROUND, _ROUNDS = 12, 21  # so many tokens come again and again; the others only after all of them
_TOKENS, _TIMES = 128, 7
_COLUMNS = (
    "text", "tokens/s without", "with", "with/without", "processor ms per token without", "with drafts",
    "drafted", "of them right",
)  # fmt: skip


class Following:
    """Seeded weights, but for the head's: what follows a token best is known."""

    def __init__(self, seed: int) -> None:
        self._seeded = Seeded(seed)

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        if name != "lm_head.weight":
            return self._seeded.array(name, shape, mean=mean, spread=spread)
        made = self._seeded.array("model.embed_tokens.weight", shape, mean=0.0, spread=0.5)
        return made[np.argsort([follower(token) for token in range(len(made))])]


def follower(token: int) -> int:
    """What comes after a token: the next one of its round."""
    once = _ROUND * _ROUNDS
    if token >= once:
        return once + (token + 1 - once) % (_CONFIG.vocabulary - once)
    return token - token % _ROUND + (token + 1) % _ROUND


@dataclass(frozen=True)
class _Line:
    name: str
    first: int  # token of the prompt, which goes on from it
    sampling: Sampling = field(default_factory=Sampling)


_LINES: Final = (
    _Line(f"the same {_ROUND} tokens again and again", 0),
    _Line("no token twice", _ROUND * _ROUNDS),
    _Line("each one of two, by chance", 0, Sampling(temperature=1e6, top_k=2, seed=1)),
)


def measure(pool: Pool) -> Iterator[Table]:
    """Tokens per second in one browser, with drafts over without."""
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.graph(_CONFIG, weights=Following(0)).save(Path(folder) / "model.onnx")
        model = registry.add_model(
            path, name="bench-follower", model_type=ModelType.TEXT, drawn=True
        )
    browser = pool.ids[0]
    yield Table(
        f"text: drafted tokens ({browser}, wasm, {_TOKENS} tokens, medians of {_TIMES} in turns)",
        _COLUMNS,
        tuple(_measured(model, line, browser, pool.pids) for line in _LINES),
    )


def _measured(
    model: OnnxModel, line: _Line, browser: str, pids: Mapping[str, int]
) -> tuple[object, ...]:
    prompt = [line.first]
    for _ in range(31):
        prompt.append(follower(prompt[-1]))
    asked = Asked(
        tuple(prompt), _TOKENS, line.sampling, ignore_end=True, shards=1, browsers=(browser,)
    )
    _written(model, replace(asked, max_tokens=16))  # loaded and proved
    speeds: dict[bool, list[float]] = {True: [], False: []}
    busy: dict[bool, list[float]] = {True: [], False: []}
    texts, drafted, right = set(), 0, 0
    for turn in range(2 * _TIMES):
        drafts = bool(turn % 2)
        before = processor.look(pids)
        text, speed, facts = _written(model, replace(asked, speculation=drafts))
        parts = processor.spent(before, processor.look(pids))
        speeds[drafts].append(speed)
        busy[drafts].append(sum(parts.get(part, 0.0) for part in ("browser", "worker")))
        texts.add(text)
        if facts is not None:
            drafted, right = facts["drafted"], facts["right"]
    if len(texts) != 1:
        raise RuntimeError(f"{line.name}: the text is another one with drafts than without")
    without, with_ = (float(np.median(speeds[drafts])) for drafts in (False, True))
    each = [after / before for before, after in zip(speeds[False], speeds[True], strict=True)]
    took = [1000 * float(np.median(busy[drafts])) / _TOKENS for drafts in (False, True)]
    return line.name, without, with_, float(np.median(each)), *took, drafted, right


def _written(
    model: OnnxModel, asked: Asked
) -> tuple[tuple[int, ...], float, dict[str, int] | None]:
    """The text, its tokens per second after the first, and what was drafted."""
    try:
        session = serving.start(model, asked, "bench")
        heard = [
            (event.pick.token, time.perf_counter())
            for event in serving.listen(session)
            if isinstance(event, TokenWritten)
        ]
        facts = report.of_session(session)
    finally:
        connection.close()
    if len(heard) != asked.max_tokens:
        raise RuntimeError(f"a text ended after {len(heard)} tokens: {facts['error']}")
    seconds = heard[-1][1] - heard[0][1]
    return tuple(token for token, _ in heard), (len(heard) - 1) / seconds, facts["speculation"]
