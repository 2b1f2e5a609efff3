"""Long prompts: what they cost others, step by step, and what a kept beginning saves."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from django.db import connection
from django.test.utils import override_settings

from inference.catalog import registry
from inference.core.generation.asked import Asked, TokenWritten
from inference.generation import report, serving
from inference.models import ModelType, OnnxModel
from inference.zoo import decoder
from inference.zoo.decoder import DecoderConfig
from inference.zoo.weights import Seeded
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Table

_CONFIG: Final = DecoderConfig(
    layers=4, hidden=256, heads=8, groups=4, head_size=32, intermediate=768, context=2048, tied=False
)  # fmt: skip
_LONG, _NEXT, _TURNS = 1200, 40, 5
_STEPS: Final = (32, 64, 128, 256, 1200)
_KEPT_WITHIN_S: Final = 30.0


def measure(pool: Pool) -> Iterator[Table]:
    """Steps of prompts of several sizes beside a text; a second turn with its first one kept, and without."""
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.graph(_CONFIG, weights=Seeded(0)).save(Path(folder) / "model.onnx")
        model = registry.add_model(path, name="bench-reader", model_type=ModelType.TEXT, drawn=True)
    browser = pool.ids[0]
    _first_token_ms(model, _prompt(0, 8), browser)  # loaded and proved
    yield Table(
        f"text: a prompt of {_LONG} tokens beside another text ({browser}, wasm)",
        ("positions a step", "the other's longest gap ms", "the prompt's first token"),
        tuple(_beside(model, browser, most) for most in _STEPS),
    )  # fmt: skip
    yield _turns(model, browser)


def _prompt(seed: int, length: int) -> tuple[int, ...]:
    numbers = np.random.default_rng(seed)
    return tuple(numbers.integers(0, _CONFIG.vocabulary, length).tolist())


def _asked(prompt: tuple[int, ...], tokens: int, browser: str) -> Asked:
    return Asked(prompt, tokens, ignore_end=True, shards=1, browsers=(browser,))


def _first_token_ms(
    model: OnnxModel, prompt: tuple[int, ...], browser: str, owner: str = "bench"
) -> tuple[float, str]:
    """Of a text of two tokens; and its session."""
    began = time.perf_counter()
    session = serving.start(model, _asked(prompt, 2, browser), owner)
    heard = [time.perf_counter() for _ in _tokens(session)]
    return (heard[0] - began) * 1000, session


def _tokens(session: str) -> Iterator[TokenWritten]:
    for event in serving.listen(session):
        if isinstance(event, TokenWritten):
            yield event


def _beside(model: OnnxModel, browser: str, most: int) -> tuple[object, ...]:
    """The prompt comes once the other text is under way."""
    other = serving.start(model, _asked(_prompt(1, 8), 800, browser), "bench")
    found: list[float] = []

    def ask() -> None:
        try:
            with override_settings(WEBPOOL_PROMPT_STEP=most):
                found.append(_first_token_ms(model, _prompt(most, _LONG), browser)[0])
        finally:
            connection.close()

    asking = threading.Thread(target=ask)
    heard = []
    for event in _tokens(other):
        heard.append(time.perf_counter())
        if event.index == 20:
            asking.start()
        if found:
            break
    serving.cancel(other)
    asking.join()
    gaps = [(late - early) * 1000 for early, late in itertools.pairwise(heard[21:])]
    if not found or not gaps:
        raise RuntimeError("the prompt was not answered while the other text went on")
    return most, max(gaps), found[0]


def _turns(model: OnnxModel, browser: str) -> Table:
    first, kept, alone, cached = [], [], [], []
    for turn in range(_TURNS):
        owner, prompt = f"bench-{uuid.uuid4()}", _prompt(100 + turn, _LONG)
        took, session = _first_token_ms(model, prompt, browser, owner)
        first.append(took)
        _wait_kept(session)
        longer = (*prompt, *_prompt(200 + turn, _NEXT))
        took, session = _first_token_ms(model, longer, browser, owner)
        kept.append(took)
        cached.append(report.of_session(session)["cached_tokens"])
        alone.append(_first_token_ms(model, longer, browser, "bench")[0])
    if cached != [_LONG] * _TURNS:
        raise RuntimeError(f"expected {_LONG} cached tokens in every second turn, got {cached}")
    medians = [float(np.median(each)) for each in (first, kept, alone)]
    return Table(
        f"text: the next turn, {_NEXT} tokens after a prompt of {_LONG} (median of {_TURNS})",
        ("turn", "first token ms", "share of the first turn's"),
        tuple(
            (name, took, took / medians[0])
            for name, took in zip(
                ("first", "second, the first kept", "second, nothing kept"), medians, strict=True
            )
        ),
    )


def _wait_kept(session: str) -> None:
    until = time.monotonic() + _KEPT_WITHIN_S
    while not report.of_session(session)["kept"]:
        if time.monotonic() > until:
            raise RuntimeError(f"its caches were not kept within {_KEPT_WITHIN_S:g} s")
        time.sleep(0.02)
