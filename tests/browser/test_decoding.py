"""A page's caches under random steps: what does not follow is refused, the rest is right, to the bit.

The steps are those that a worker may send, in order and out of it, of several sessions and epochs. What the
page answers must be what `judge` says, and must not depend on how often or by whom it was asked before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from browsers.bridge import NotLoaded, StepRefused
from browsers.core.errors import InvalidInput, OutOfMemory
from browsers.session.decoding import StepAsked
from inference.core.generation.sessions import Place, Step, Verdict, after
from inference.store.tensors import decode_array
from tests.browser.bench import Bench, started
from tests.browser.player import VOCABULARY, Player, steps


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with started("chromium", tmp_path_factory.mktemp("decoding"), memory_limit_mb=3500) as made:
        yield made


@pytest.fixture(scope="module")
def player(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Player:
    made = Player(bench, tmp_path_factory.mktemp("model"), seed=5)
    made.hold()
    return made


def test_random_steps_are_refused_or_right(player: Player) -> None:
    seen = [player.play() for _ in range(400)]
    assert set(seen) == set(Verdict)


@pytest.mark.soak("400 of them are always played")
def test_ten_thousand_random_steps_are_refused_or_right(player: Player) -> None:
    seen = [player.play() for _ in range(10_000)]
    assert set(seen) == set(Verdict)


def test_the_largest_logits_are_those_of_the_row(player: Player) -> None:
    step = Step(10_000, *steps()[0])
    (whole, every), (header, top) = player.ask("one", step), player.ask("two", step, top_k=7)
    player.places["one"] = player.places["two"] = after(step)
    (row,) = decode_array(every[1])
    assert decode_array(every[0]).tolist() == [list(range(VOCABULARY))]
    np.testing.assert_allclose(whole["log_sum"], [np.log(np.exp(row.astype(np.float64)).sum())])
    (ids,), (logits,) = (decode_array(tensor) for tensor in top)
    right = player.right["two"][step.end]
    assert ids.tolist() == np.argsort(-right, kind="stable")[:7].tolist()
    np.testing.assert_allclose(logits, np.sort(right)[::-1][:7], atol=1e-5)
    assert header["compute_ms"] >= 0


def test_a_model_in_use_stays_and_its_cache_takes_room(player: Player, bench: Bench) -> None:
    residents = bench.session._residents
    before = residents.planned_mb()
    with pytest.raises(OutOfMemory):
        bench.session.decoding.hold(
            "huge", player.model, backend="wasm", cache_mb=10_000, deadline_s=60
        )
    assert residents.planned_mb() == before, "what was refused is not counted"
    assert before > residents.baseline_mb + 3.0, "three caches of a megabyte"


def test_what_the_first_step_lacks_is_said(player: Player) -> None:
    asked = {"epoch": 1, "start": 0, "count": 1, "drafted": 0, "top_k": 1}
    step = StepAsked("nobody", player.model, "wasm", asked, [])
    (refused,) = player.session.decoding.steps([step], timeout_s=60)
    assert isinstance(refused, InvalidInput)
    assert "says what the stage takes" in str(refused)


def test_steps_asked_together_are_each_answered(player: Player) -> None:
    """One that is refused costs the others nothing, and the bits are those of steps asked alone."""
    for name in ("one", "two"):
        player.ask(name, Step(20_000, *steps()[0]))
    next_ = Step(20_000, *steps()[1])
    wrong = player.asked("two", Step(20_000, *steps()[3]))
    asked = [player.asked("one", next_), wrong, player.asked("two", next_)]
    one, refused, two = player.session.decoding.steps(asked, timeout_s=120)
    assert isinstance(refused, StepRefused)
    assert refused.code == Verdict.GAP
    for name, answer in (("one", one), ("two", two)):
        assert not isinstance(answer, Exception)
        logits = decode_array(answer[1][1]).tobytes()
        player.ask(name, Step(20_001, *steps()[0]))
        assert decode_array(player.ask(name, Step(20_001, *steps()[1]))[1][1]).tobytes() == logits
        player.places[name] = after(Step(20_001, *steps()[1]))


def test_a_session_may_begin_with_what_is_kept_of_another(player: Player, bench: Bench) -> None:
    """Cut to the tokens that both have, the cache gives the bits of one that was never kept."""
    for at, (start, count) in enumerate(steps()[:4]):
        player.ask("one", Step(30_000, start, count))
        player.places["one"] = Place(30_000, start + count, steps()[max(0, at - 1)][0])
    decoding, residents = player.session.decoding, bench.session._residents
    before = residents.planned_mb()
    decoding.keep("one", 1.5)
    assert residents.planned_mb() == before + 0.5, "held for a session it counted a megabyte"
    whole, cut = Step(1, 0, 10), Step(1, 6, 4)
    fresh = player.asked("one", whole)
    kept = player.asked("one", cut)
    answers = decoding.steps(
        [
            dataclasses.replace(fresh, holder="fresh"),
            dataclasses.replace(kept, holder="begun", step={**kept.step, "kept": "one"}),
        ],
        timeout_s=120,
    )
    bits = [decode_array(each[1][1]).tobytes() for each in answers if isinstance(each, tuple)]
    assert bits[0] == bits[1]
    free = residents.limit_mb - residents.planned_mb()
    decoding.hold("tight", player.model, backend="wasm", cache_mb=free + 0.5, deadline_s=60)
    assert decoding.kept.holders() == set(), "given up for a session that goes on"
    gone = dataclasses.replace(kept, holder="late", step={**kept.step, "kept": "one"})
    (refused,) = decoding.steps([gone], timeout_s=60)
    assert isinstance(refused, StepRefused)
    assert refused.code == Verdict.NO_CACHE
    for holder in ("tight", "fresh", "begun"):
        decoding.release(holder)
    del player.places["one"]


def test_webgpu_gives_the_logits_too(player: Player) -> None:
    """Not to the bit, and by software here: a prompt and two tokens."""
    decoding = player.session.decoding
    decoding.hold("gpu", player.model, backend="webgpu", cache_mb=1.0, deadline_s=120)
    for start, count in steps()[:3]:
        asked = player.asked("one", Step(1, start, count))
        asked = dataclasses.replace(asked, holder="gpu", backend="webgpu")
        (answer,) = decoding.steps([asked], timeout_s=120)
        assert not isinstance(answer, Exception), answer
        (logits,) = decode_array(answer[1][1])
        np.testing.assert_allclose(logits, player.right["one"][start + count], atol=1e-3)
    decoding.release("gpu")


def test_a_new_engine_has_no_cache(player: Player, bench: Bench) -> None:
    bench.session.restart_engine()
    step = Step(10_001, *steps()[1])
    with pytest.raises(NotLoaded):
        player.ask("one", step)
    player.hold()
    with pytest.raises(StepRefused) as refused:
        player.ask("one", step)
    assert refused.value.code == Verdict.NO_CACHE
    player.session.decoding.release("one")
