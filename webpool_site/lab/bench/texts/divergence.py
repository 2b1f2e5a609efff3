"""Where texts on WebGPU part from those on wasm, and how near the two best logits are there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from django.db import connection

from browsers.state.live import LiveBrowser
from inference.catalog import registry
from inference.core.generation.asked import Asked, Ended, TokenWritten
from inference.core.generation.sampled import Pick, Sampling
from inference.generation import serving
from inference.models import ModelType, OnnxModel
from inference.zoo import decoder
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Table

_PROMPTS, _LENGTH, _TOKENS = 3, 12, 8
_COLUMNS = ("prompt", "browser", "tokens alike", "first divergence", "gap of the two best logits")
WEBGPU: Final = "webgpu"


def measure(pool: Pool) -> Iterator[Table | str]:
    """Of a tiny decoder; each text drawn greedily, in the first browser that has both."""
    browser = next((each for each in pool.browsers if _has_webgpu(each)), None)
    if browser is None:
        yield "texts on WebGPU: no browser of this pool has it"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.tiny().save(Path(folder) / "model.onnx")
        model = registry.add_model(
            path, name="bench-diverging", model_type=ModelType.TEXT, drawn=True
        )
    numbers = np.random.default_rng(0)
    prompts = [tuple(numbers.integers(0, 512, _LENGTH).tolist()) for _ in range(_PROMPTS)]
    lines = [_line(number, model, prompt, browser.id) for number, prompt in enumerate(prompts)]
    yield Table(
        f"text on WebGPU beside wasm (tiny decoder, {_TOKENS} tokens, greedy)",
        _COLUMNS,
        tuple(lines),
    )


def _has_webgpu(browser: LiveBrowser) -> bool:
    return any(backend.name == WEBGPU for backend in browser.backends)


def _line(
    number: int, model: OnnxModel, prompt: tuple[int, ...], browser: str
) -> tuple[object, ...]:
    asked = Asked(
        prompt, _TOKENS, Sampling(logprobs=2), ignore_end=True, shards=1, browsers=(browser,)
    )
    wasm, gpu = (_written(model, replace(asked, backend=name)) for name in ("wasm", WEBGPU))
    at = first_divergence(wasm, gpu)
    gap = None if at is None else wasm[at].top[0][1] - wasm[at].top[1][1]
    return number, browser, _TOKENS if at is None else at, at, gap


def first_divergence(one: Sequence[Pick], other: Sequence[Pick]) -> int | None:
    """The index of the first token that differs; None: none does."""
    pairs = zip(one, other, strict=True)
    return next((index for index, (a, b) in enumerate(pairs) if a.token != b.token), None)


def _written(model: OnnxModel, asked: Asked) -> list[Pick]:
    try:
        events = list(serving.listen(serving.start(model, asked, "bench")))
    finally:
        connection.close()
    ended = events[-1]
    picks = [event.pick for event in events if isinstance(event, TokenWritten)]
    if not isinstance(ended, Ended) or len(picks) != asked.max_tokens:
        raise RuntimeError(f"a text on {asked.backend} ended after {len(picks)} tokens: {ended}")
    return picks
