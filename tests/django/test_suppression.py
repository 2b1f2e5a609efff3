"""Tokens that a model never writes are left out of its texts, also where a stage is lost.

Store, ledger and decode loops are webpool's; in place of pages native onnxruntime computes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import registry
from inference.checkpoints.described import Described
from inference.core.generation.asked import Asked, TokenWritten
from inference.core.generation.sampled import Sampling
from inference.generation import serving
from inference.generation.opening import _held
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, OnnxModel
from tests.support import decoders as tiny
from tests.support.loops import PROMPT, TOKENS, Browser, die, until

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def never(right: list[int]) -> list[int]:
    """What the model would write most often, and most of what is as likely."""
    return [token for token, _ in Counter(right).most_common(3)] + list(range(300, 360))


@pytest.fixture
def not_first(decoder_file: Path, never: list[int]) -> list[int]:
    """What it would begin with instead, and then."""
    one = tiny.greedy(decoder_file, list(PROMPT), 1, never)
    return one + tiny.greedy(decoder_file, list(PROMPT), 1, never, one)


@pytest.fixture
def held_back(
    decoder_file: Path, never: list[int], not_first: list[int], settings: Any
) -> Iterator[OnnxModel]:
    settings.WEBPOOL_KEEP_S = 0
    described = Described(suppress_tokens=(*never,), begin_suppress_tokens=(*not_first,))
    yield registry.add_model(decoder_file, name="held-back", drawn=True, described=described)
    GenerationSession.objects.all().delete()
    OnnxModel.objects.filter(name="held-back").delete()


@pytest.mark.parametrize("speculation", [False, True])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(logprobs=2), Sampling(frequency_penalty=0.1), Sampling(top_k=1, temperature=1.0)],
)  # fmt: skip
def test_they_never_come_also_where_the_text_goes_on_elsewhere(
    held_back: OnnxModel,
    decoder_file: Path,
    right: list[int],
    never: list[int],
    not_first: list[int],
    sampling: Sampling,
    speculation: bool,
) -> None:
    """The stage that draws is lost, and another browser draws the whole text again."""
    browsers = [Browser(name) for name in ("a", "b", "c")]
    asked = Asked(PROMPT, TOKENS, sampling, ignore_end=True, shards=2, speculation=speculation)
    key = serving.start(held_back, asked, "")
    rows = GenerationStage.objects.select_related("plan_shard", "session", "session__model")
    of = {browser.id: browser for browser in browsers}
    lost = rows.get(session__pk=key, index=1)
    reached, go_on = threading.Event(), threading.Event()
    of[lost.browser].decoding.before = lambda step: die(step, 30, reached, go_on)
    for row in rows.filter(session__pk=key):
        of[row.browser].loop.open(_held(row))
    assert reached.wait(60)
    go_on.set()
    Watcher().turn()
    until(lambda: GenerationStage.objects.get(pk=lost.pk).epoch == 2)
    of[GenerationStage.objects.get(pk=lost.pk).browser].loop.open(_held(rows.get(pk=lost.pk)))
    told = [each.pick for each in serving.listen(key) if isinstance(each, TokenWritten)]
    written = [pick.token for pick in told]
    if not sampling.frequency_penalty:
        assert written == tiny.greedy(decoder_file, list(PROMPT), TOKENS, never, not_first)
    assert len(written) == TOKENS
    assert not {*written} & {*never}
    assert written[0] not in not_first
    assert {*not_first} & {*written}, "only as the first they are not written"
    assert written != right
    if sampling.logprobs:
        assert any(pick.token != pick.top[0][0] for pick in told), "the model's own likeliest"
