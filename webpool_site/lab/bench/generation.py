"""Text over stages: tokens per second, time to the first, and what the pool adds to each token.

The model is tiny: what is measured is the way of a token, not its computation, which is told beside it.
A browser compiles anew what it runs often: for its first few hundred tokens that takes more of the processor
than they do. So some texts are written before those that are measured.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from inference.catalog import decoders, registry
from inference.graph.decoding.reference import Native
from inference.models import ModelType, OnnxModel
from inference.zoo import decoder
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Table
from webpool_site.lab.bench.texts import (
    checkpoints,
    divergence,
    prompts,
    speculation,
    together,
    token_way,
)
from webpool_site.lab.bench.texts.written import Written, write, write_at_once

_MODEL = "bench-writer"
_PROMPT, _TOKENS = tuple(range(1, 17)), 64
_SETTLED, _TIMES = 8, 5
_COLUMNS = (
    "stages", "texts at once", "browsers", "first token ms", "ms per token", "of it computing",
    "the pool adds", "tokens/s, all",
)  # fmt: skip


def measure(pool: Pool) -> Iterator[Table | str]:
    """One, two and three stages, each with one, four and eight texts at once; and onnxruntime alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.tiny().save(Path(folder) / "model.onnx")
        model = registry.add_model(path, name=_MODEL, model_type=ModelType.TEXT, drawn=True)
        lines = [_native(path, model)]
    alone: list[Written] = []
    for stages in range(1, min(3, len(pool.ids)) + 1):
        for _ in range(_SETTLED):
            _write(model, stages, pool.ids)
        alone = alone or [_write(model, stages, pool.ids) for _ in range(_TIMES)]
        lines += [_line(model, stages, texts, pool.ids) for texts in (1, 4, 8)]
    yield Table(
        f"text: a token's way through stages (tiny decoder, {_TOKENS} tokens, wasm, medians of {_TIMES})",
        _COLUMNS,
        tuple(lines),
    )
    if alone:
        whole = decoders.decoder_of(model).whole
        per_token = statistics.median(each.per_token for each in alone)
        yield token_way.table(pool.browsers[0].kind, model.sha256, whole, per_token)
    yield from together.measure(pool)
    yield from prompts.measure(pool)
    yield from speculation.measure(pool)
    yield from divergence.measure(pool)
    yield checkpoints.table(pool.browsers[0].kind)


def _write(model: OnnxModel, stages: int, browsers: Sequence[str]) -> Written:
    return write(model, _PROMPT, _TOKENS, stages=stages, browsers=browsers)


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
    told = [
        write_at_once(model, [_PROMPT] * texts, _TOKENS, stages=stages, browsers=browsers)
        for _ in range(_TIMES)
    ]
    written = [each for group, _ in told for each in group]
    per_token = statistics.median(each.per_token for each in written)
    added = [each.per_token - each.computed for each in written if each.computed is not None]
    computed = [each.computed for each in written if each.computed is not None]
    return (
        stages,
        texts,
        written[0].browsers,
        statistics.median(each.first for each in written),
        per_token,
        statistics.median(computed) if computed else None,
        # With several texts at once a token also waits for those of others.
        statistics.median(added) if added and texts == 1 else None,
        statistics.median(rate for _, rate in told),
    )
