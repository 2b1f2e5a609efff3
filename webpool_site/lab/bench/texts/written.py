"""One text, listened to as it is written, with its times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.db import connection

from inference.core.generation.asked import Asked, TokenWritten
from inference.generation import report, serving
from inference.models import OnnxModel


@dataclass(frozen=True)
class Written:
    """Times of one text in ms; `computed` per token, over its stages, of runs that several texts shared its
    part; None: not known."""

    first: float
    per_token: float
    computed: float | None
    browsers: str


def write(
    model: OnnxModel, prompt: tuple[int, ...], tokens: int, *, stages: int, browsers: Sequence[str]
) -> Written:
    """So many tokens after a prompt, a step for each; stage i is computed by the i-th browser.

    Raises:
        RuntimeError: the text ended before.
    """
    try:
        began = time.perf_counter()
        asked = Asked(
            prompt, tokens, ignore_end=True, shards=stages, browsers=tuple(browsers[:stages]),
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
    if len(heard) != tokens:
        raise RuntimeError(f"a text ended after {len(heard)} tokens: {facts['error']}")
    spent = [stage["step_ms"] for stage in facts["stages"]]
    steps = tokens - 1
    return Written(
        first=(heard[0] - began) * 1000,
        per_token=(heard[-1] - heard[0]) * 1000 / steps,
        computed=None if None in spent else sum(spent) / steps,
        browsers=", ".join(stage["browser"] for stage in facts["stages"]),
    )


def write_at_once(
    model: OnnxModel,
    prompts: Sequence[tuple[int, ...]],
    tokens: int,
    *,
    stages: int,
    browsers: Sequence[str],
) -> tuple[list[Written], float]:
    """A text for each prompt, all begun together; and tokens a second of all, prompts included."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as threads:
        written = list(
            threads.map(
                lambda prompt: write(model, prompt, tokens, stages=stages, browsers=browsers),
                prompts,
            )
        )
    return written, len(prompts) * tokens / (time.perf_counter() - began)
