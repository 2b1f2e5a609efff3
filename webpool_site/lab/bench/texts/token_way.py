"""The way of one token through one stage, station by station.

The page is asked by the bench itself, in a browser of its own, and the pool's store with a session that is no
text: so each station is measured alone, and what is left of a token of the pool is its worker's own.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from django.conf import settings

from browsers.session import BrowserSession
from browsers.session.decoding import StepAsked
from inference.core.generation import telling
from inference.core.generation.sampled import Pick
from inference.core.generation.stages import Stage
from inference.generation import frames, streams
from inference.generation.exchange import Exchange
from inference.store.files import path_of
from inference.store.tensors import encode_array
from webpool_site.lab.bench.own_browser import own_browser
from webpool_site.lab.bench.stats import Table
from webpool_site.lab.bench.texts import waking

_STEPS, _WARM_UP = 160, 32
_TIMES: Final = 4
"""The browser compiles what it runs often anew: the last time is measured."""
_HOLDER: Final = "bench"


def table(kind: str, sha256: str, stage: Stage, per_token_ms: float) -> Table:
    """Medians; `per_token_ms` is a token's of the same stage in the pool's browser of that kind."""
    computed, page, round_trip, empty = np.median(list(_in_page(kind, sha256, stage)), axis=0)
    store = float(np.median(list(_in_store())))
    lines = (
        ("the engine computes", computed),
        ("the page: the step read, inputs filled, the largest logits, the answer written", page - computed),
        ("from the worker to the page and back", round_trip - page),
        ("the store: the token told and logged, the next step read", store),
        ("the worker's own work, and until each of these is awake", per_token_ms - round_trip - store),
        ("all of it", per_token_ms),
        ("beside: a request that asks the page for nothing, there and back", empty),
        ("beside: a byte to a process that sleeps, and back", waking.there_and_back_ms()),
    )  # fmt: skip
    return Table(
        f"text: the way of a token through one stage ({kind}, wasm, tiny decoder)",
        ("station", "median ms"),
        lines,
    )


def _in_page(kind: str, sha256: str, stage: Stage) -> Iterator[tuple[float, float, float, float]]:
    """(computed, in the page, there and back) of steps of one token, and an empty request's way; in ms."""
    session = own_browser(kind, files=path_of)
    session.start(settings.WEBPOOL_BROWSER_START_S)
    try:
        session.decoding.hold(_HOLDER, sha256, backend="wasm", cache_mb=8.0, deadline_s=120)
        for epoch, position in itertools.product(range(1, _TIMES + 1), range(_STEPS)):
            step = _step(sha256, stage, epoch, position)
            (answer,) = session.decoding.steps([step], timeout_s=60)
            if isinstance(answer, Exception):
                raise answer
            told = answer[0]
            if epoch == _TIMES and position >= _WARM_UP:
                empty_ms = _empty_ms(session)
                yield told["compute_ms"], told["page_ms"], told["round_trip_ms"], empty_ms
    finally:
        session.close(5.0)


def _empty_ms(session: BrowserSession) -> float:
    began = time.perf_counter()
    session.decoding.release("nobody")  # of whom the page has nothing
    return (time.perf_counter() - began) * 1000


def _step(sha256: str, stage: Stage, epoch: int, position: int) -> StepAsked:
    """Of a text of its own for each epoch."""
    header: dict[str, Any] = {
        "epoch": epoch,
        "start": position,
        "count": 1,
        "drafted": 0,
        "top_k": 1,
    }
    if position == 0:
        header["stage"] = stage.to_json()
    (tokens,) = [item for item in stage.inputs if item.use == "tokens"]
    given = [encode_array(tokens.name, np.array([[position % 100]], tokens.dtype))]
    return StepAsked(_HOLDER, sha256, "wasm", header, given)


def _in_store() -> Iterator[float]:
    """What a token's message to the store takes until its answer and the next step are read, in ms."""
    session, exchange = str(uuid.uuid4()), Exchange()
    streams.begin(session, [1], [(1, frames.tokens_frame(0, [1]))])
    try:
        for index in range(_STEPS):
            began = time.perf_counter()
            _tell(session, exchange, index)
            if index >= _WARM_UP:
                yield (time.perf_counter() - began) * 1000
    finally:
        streams.drop(session, 1)


def _tell(session: str, exchange: Exchange, index: int) -> None:
    step = (index + 2, frames.tokens_frame(index + 1, [1]))
    pick = telling.pick_to_json(Pick(1, -1.0))
    call = streams.tell_tokens(session, 0, 1, index, [pick], feed=step, ended=None, step_ms=1.0)
    exchange.pass_on([call], {streams.in_key(session, 0): f"{index + 1}-0"}, 1000)
    exchange.wait({}, 0)
