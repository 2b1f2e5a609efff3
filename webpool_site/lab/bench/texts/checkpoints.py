"""Caches copied out of a page now and then, beside the replay that recovery does instead.

The pool makes no checkpoints: what they would cost and save is measured. Whoever goes on does so in a new
page with the file loaded, as a standby of the pool has it. What it gives next must be the same to the bit,
either way.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.management import call_command

from browsers.bridge import Reply
from browsers.session import BrowserSession
from inference.catalog import decoders, registry
from inference.generation import placing
from inference.models import ModelType, OnnxModel, stage_of
from inference.store import tensors as store
from inference.store.files import path_of
from inference.store.tensors import TensorRef
from inference.zoo import decoder
from webpool_site.lab.bench.own_browser import own_browser
from webpool_site.lab.bench.stats import Table
from webpool_site.lab.bench.texts import caches, logged
from webpool_site.lab.bench.texts.caches import Copied
from webpool_site.lab.bench.texts.logged import Log, Subject

_STAGES: Final = 3
_CONTEXT: Final = 512
_EVERY: Final = 64
_PAGES: Final = 3
_REAL: Final = "smollm2"
_NAMES: Final = (
    f"caches of {_CONTEXT} tokens, MB",
    "all of them from the page to the worker, ms",
    f"those of {_EVERY} tokens from the page to the worker, ms",
    f"those of {_EVERY} tokens from the worker into the store, ms",
    f"a checkpoint of what is new every {_EVERY} tokens: ms per token",
    "a step of one token computes, ms",
    f"a step of a prompt of {_CONTEXT} tokens computes, ms",
    f"by checkpoints: caches of {_CONTEXT} tokens from the store into a page, the next step there, ms",
    f"by replay: {_CONTEXT} tokens from the log computed in a page, the next step there, ms",
    "in so many steps",
    f"what checkpoints save, the last one {_EVERY // 2} tokens old, ms",
    "they save time where a stage is lost once in fewer tokens than",
)


@dataclass(frozen=True)
class _Measured:
    """Of one stage; times in ms, medians.

    Attributes:
        whole: its caches of the whole context; `new`: of as many tokens as lie between two checkpoints.
        stored: what the store takes for what is new.
        given: until a new page that is given the caches has done the next step; `replayed`: one that
            replays, in so many `steps`.
    """

    whole: Copied
    new: Copied
    stored: float
    given: float
    replayed: float
    steps: int

    def cells(self) -> tuple[object, ...]:
        """A column of the table."""
        per_token = (self.new.ms + self.stored) / _EVERY
        saved = self.replayed * (1 - _EVERY / 2 / _CONTEXT) - self.given
        return (
            self.whole.mb, self.whole.ms, self.new.ms, self.stored, per_token,
            self.whole.step_ms, self.whole.prompt_ms,
            self.given, self.replayed, self.steps, saved,
            saved / per_token if saved > 0 and per_token > 0 else None,
        )  # fmt: skip


def table(kind: str) -> Table:
    """The first of three stages of a tiny decoder and of SmolLM2, in a browser of that kind."""
    browser = own_browser(kind, files=path_of)
    browser.start(settings.WEBPOOL_BROWSER_START_S)
    try:
        columns = [
            _measured(browser, _first_stage(model), replays=replays).cells()
            for model, replays in ((_tiny(), _PAGES), (_smollm2(), 1))
        ]
    finally:
        browser.close(5.0)
    return Table(
        f"text: checkpoints beside a replay of the first of {_STAGES} stages ({kind}, wasm)",
        ("what", "tiny decoder", _REAL),
        tuple(zip(_NAMES, *columns, strict=True)),
    )


def _tiny() -> OnnxModel:
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.tiny(context=2 * _CONTEXT).save(Path(folder) / "model.onnx")
        return registry.add_model(
            path, name="bench-checkpoints", model_type=ModelType.TEXT, drawn=True
        )


def _smollm2() -> OnnxModel:
    call_command("add_sample", _REAL, stdout=io.StringIO())
    return OnnxModel.objects.get(name=_REAL)


def _first_stage(model: OnnxModel) -> Subject:
    shard = decoders.plan_for(model, _STAGES).shards.get(index=0)
    vocabulary = decoders.decoder_of(model).vocabulary
    return Subject(model.name, shard.sha256, stage_of(shard), vocabulary)


def _measured(browser: BrowserSession, subject: Subject, *, replays: int) -> _Measured:
    tokens = logged.any_tokens(subject.vocabulary, _CONTEXT + 1)
    _hold(browser, subject)
    whole, new = (caches.copied(browser, subject, tokens[:length]) for length in (_CONTEXT, _EVERY))
    refs, stored = _stored(subject, whole)
    log = logged.write_log(subject, tokens, whole.hidden)
    try:
        given = [_given(browser, subject, refs, tokens) for _ in range(_PAGES)]
        replayed = [_replayed(browser, log) for _ in range(replays)]
    finally:
        logged.drop_log(log)
        store.drop(ref for _, ref in refs)
    gave = [reply[1] for reply, _ in given] + [reply[1] for reply, *_ in replayed]
    if any(each != gave[0] for each in gave):
        raise RuntimeError(
            f"{subject.name}: given caches, or by replay, a page gives something else"
        )
    return _Measured(
        whole=whole,
        new=new,
        stored=stored,
        given=statistics.median(took for _, took in given),
        replayed=statistics.median(took for _, took, _ in replayed),
        steps=replayed[0][2],
    )


def _stored(subject: Subject, whole: Copied) -> tuple[list[tuple[str, TensorRef]], float]:
    """The pieces of caches in the store, by name, and what it takes for one of them."""
    refs, took = [], []
    for piece in caches.pieces(subject.stage, whole.caches, _EVERY):
        began = time.perf_counter()
        kept = store.store(f"bench-{uuid.uuid4()}", piece)
        took.append((time.perf_counter() - began) * 1000)
        refs += [(tensor.name, ref) for tensor, ref in zip(piece, kept, strict=True)]
    return refs, statistics.median(took)


def _given(
    browser: BrowserSession,
    subject: Subject,
    refs: Sequence[tuple[str, TensorRef]],
    tokens: Sequence[int],
) -> tuple[Reply, float]:
    """What the next step gives in a new page that has the caches of the store, and until then, in ms."""
    _new_page(browser, subject)
    began = time.perf_counter()
    reply = caches.go_on(browser, subject, store.fetch(refs), tokens)
    return reply, (time.perf_counter() - began) * 1000


def _replayed(browser: BrowserSession, log: Log) -> tuple[Reply, float, int]:
    """What the next step gives in a new page that replays, until then in ms, and in how many steps."""
    _new_page(browser, log.subject)
    began = time.perf_counter()
    reply, steps = logged.replay(browser, log)
    return reply, (time.perf_counter() - began) * 1000, steps


def _new_page(browser: BrowserSession, subject: Subject) -> None:
    browser.refresh()
    _hold(browser, subject)


def _hold(browser: BrowserSession, subject: Subject) -> None:
    # As they are for a text; those that are copied out and in are there beside it.
    cache_mb = 8 * _CONTEXT * placing.mb_per_position(subject.stage)
    browser.decoding.hold(
        logged.HOLDER, subject.sha256, backend=placing.WASM, cache_mb=cache_mb, deadline_s=120
    )
