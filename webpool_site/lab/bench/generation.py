"""Text over stages: tokens per second, time to the first, and what the pool adds to each token.

The model is tiny: what is measured is the way of a token, not its computation, which is told beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.db import connection

from inference.catalog import decoders, registry
from inference.core.generation.asked import Asked, TokenWritten
from inference.generation import report, serving
from inference.graph.decoding.reference import Native
from inference.models import ModelType, OnnxModel
from inference.zoo import decoder
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Table
from webpool_site.lab.bench.texts import divergence, prompts, speculation, token_way

_MODEL = "bench-writer"
_PROMPT, _TOKENS = tuple(range(1, 17)), 64
_COLUMNS = (
    "stages", "texts at once", "browsers", "first token ms", "ms per token", "of it computing",
    "the pool adds", "tokens/s, all",
)  # fmt: skip


@dataclass(frozen=True)
class _Text:
    """Times of one text in ms; `computed` per token, over its stages; None: not known."""

    first: float
    per_token: float
    computed: float | None
    browsers: str


def measure(pool: Pool) -> Iterator[Table | str]:
    """One, two and three stages, each with one, four and eight texts at once; and onnxruntime alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.tiny().save(Path(folder) / "model.onnx")
        model = registry.add_model(path, name=_MODEL, model_type=ModelType.TEXT)
        lines = [_native(path, model)]
    alone: _Text | None = None
    for stages in range(1, min(3, len(pool.ids)) + 1):
        _write(model, stages, pool.ids)  # loaded and proved
        alone = alone or _write(model, stages, pool.ids)
        lines += [_line(model, stages, texts, pool.ids) for texts in (1, 4, 8)]
    yield Table(
        "text: a token's way through stages (tiny decoder, 64 tokens, wasm)", _COLUMNS, tuple(lines)
    )
    if alone is not None:
        whole = decoders.decoder_of(model).whole
        yield token_way.table(pool.browsers[0].kind, model.sha256, whole, alone.per_token)
    yield from prompts.measure(pool)
    yield from speculation.measure(pool)
    yield from divergence.measure(pool)


def _native(path: Path, model: OnnxModel) -> tuple[object, ...]:
    native = Native([(path, decoders.decoder_of(model).whole)])
    native.greedy(_PROMPT, 4)
    native.restart()
    began = time.perf_counter()
    native.step(_PROMPT)
    first = time.perf_counter()
    for token in range(_TOKENS):
        native.step([token])
    per_token = (time.perf_counter() - first) * 1000 / _TOKENS
    return (
        0, 1, "onnxruntime in Python", (first - began) * 1000, per_token, per_token, 0.0, 1000 / per_token
    )  # fmt: skip


def _line(model: OnnxModel, stages: int, texts: int, browsers: Sequence[str]) -> tuple[object, ...]:
    began = time.perf_counter()
    with ThreadPoolExecutor(texts) as threads:
        written = list(threads.map(lambda _: _write(model, stages, browsers), range(texts)))
    took_s = time.perf_counter() - began
    per_token = float(np.median([each.per_token for each in written]))
    known = [each.computed for each in written if each.computed is not None]
    computed = float(np.median(known)) if known else None
    return (
        stages,
        texts,
        written[0].browsers,
        float(np.median([each.first for each in written])),
        per_token,
        computed,
        # With several texts at once a token also waits for those of others.
        per_token - computed if computed is not None and texts == 1 else None,
        texts * _TOKENS / took_s,
    )


def _write(model: OnnxModel, stages: int, browsers: Sequence[str]) -> _Text:
    """One text, listened to, a step for each of its tokens."""
    try:
        began = time.perf_counter()
        asked = Asked(
            _PROMPT, _TOKENS, ignore_end=True, shards=stages, browsers=tuple(browsers[:stages]),
            speculation=False,
        )  # fmt: skip
        session = serving.start(model, asked, "bench")
        heard = [
            time.perf_counter()
            for event in serving.listen(session)
            if isinstance(event, TokenWritten)
        ]
        facts = report.of_session(session)
    finally:
        connection.close()
    if len(heard) != _TOKENS:
        raise RuntimeError(f"a text ended after {len(heard)} tokens: {facts['error']}")
    spent = [stage["step_ms"] for stage in facts["stages"]]
    steps = _TOKENS - 1
    return _Text(
        first=(heard[0] - began) * 1000,
        per_token=(heard[-1] - heard[0]) * 1000 / steps,
        computed=None if None in spent else sum(spent) / steps,
        browsers=", ".join(stage["browser"] for stage in facts["stages"]),
    )
