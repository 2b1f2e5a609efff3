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

from browsers.core.failures import Category
from inference.catalog import decoders, registry
from inference.catalog.texts import check_grammar
from inference.checkpoints.described import Described
from inference.core.generation.asked import Asked, Ended, Ending, TokenWritten
from inference.core.generation.sampled import Sampling
from inference.core.generation.wording.grammar import json_grammar
from inference.errors import InvalidRequest
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
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
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


@pytest.fixture
def no_digits(tmp_path: Path, settings: Any) -> Iterator[OnnxModel]:
    """A model that writes no 1, and begins with no 2."""
    settings.WEBPOOL_KEEP_S = 0
    made = tiny.write(tmp_path)
    one, two = tiny.tokenizer().encode("12").ids
    described = Described(
        stop_tokens=(tiny.END,), suppress_tokens=(one,), begin_suppress_tokens=(two,)
    )
    yield registry.add_model(
        made.onnx, name="no-digits", tokenizer=made.tokenizer, drawn=True, described=described
    )
    GenerationSession.objects.all().delete()
    OnnxModel.objects.filter(name="no-digits").delete()


def test_a_form_of_nothing_but_such_tokens_ends_the_text_which_is_told_why(
    no_digits: OnnxModel,
) -> None:
    """No browser is to blame, and none is tried after the first."""
    browsers = {name: Browser(name) for name in ("a", "b")}
    asked = Asked(PROMPT, TOKENS, grammar=json_grammar({"enum": [3211]}), shards=1)
    key = serving.start(no_digits, asked, "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    row = rows.get(session__pk=key)
    browsers[row.browser].loop.open(_held(row))
    watcher = Watcher()

    def has_ended() -> bool:
        watcher.turn()
        return GenerationSession.objects.get(pk=key).state == "ended"

    until(has_ended)
    *written, ended = serving.listen(key)
    assert [each.pick.token for each in written if isinstance(each, TokenWritten)] == [
        *tiny.tokenizer().encode("32").ids
    ]
    assert isinstance(ended, Ended)
    assert (ended.ending, ended.category) == (Ending.FAILED, Category.INVALID_INPUT)
    assert ended.error == (
        "token 2 of the text: the form that was asked for allows only tokens that the model never writes "
        "(its suppress_tokens); ask for another form"
    )
    assert not GenerationSession.objects.get(pk=key).recoveries.exists()


@pytest.mark.parametrize("number", [11, 21])
def test_a_form_that_begins_with_nothing_but_such_tokens_is_refused(
    no_digits: OnnxModel, number: int
) -> None:
    decoder = decoders.decoder_of(no_digits)
    check_grammar(no_digits, decoder, json_grammar({"enum": [number, 3]}))
    with pytest.raises(InvalidRequest, match="it begins with tokens alone that the model never"):
        check_grammar(no_digits, decoder, json_grammar({"enum": [number]}))
