"""A page's caches under random steps: what does not follow is refused, the rest is right, to the bit.

The steps are those that a worker may send, in order and out of it, of several sessions and epochs. What the
page answers must be what `judge` says, and must not depend on how often or by whom it was asked before.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers.bridge import NotLoaded, StepRefused
from browsers.core.errors import InvalidInput, OutOfMemory
from browsers.session.decoding import StepAsked
from inference.core.generation.sessions import Place, Step, Verdict, after, judge
from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.store.tensors import decode_array, encode_array
from inference.zoo import decoder
from tests.browser.bench import Bench, started

VOCABULARY, CONTEXT, TEXT = 512, 256, 48
SESSIONS = ("one", "two", "three")
"""Each has a text of its own; a prompt of 8 tokens in one step, then one token a step."""
FOREIGN = "another"
"""A session that was never begun here."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with started("chromium", tmp_path_factory.mktemp("decoding"), memory_limit_mb=3500) as made:
        yield made


class Player:
    """Asks the page for steps, and knows what it must answer."""

    def __init__(self, bench: Bench, folder: Path, seed: int) -> None:
        path = decoder.tiny().save(folder / "model.onnx")
        self.stage = found.read_file(path).found.whole
        self.model = bench.put(path.read_bytes())
        self.session = bench.session
        self.random = random.Random(seed)
        numbers = np.random.default_rng(seed)
        self.texts = {name: numbers.integers(0, VOCABULARY, TEXT).tolist() for name in SESSIONS}
        self.right = {
            name: self._right(Native([(path, self.stage)]), text)
            for name, text in self.texts.items()
        }
        self.texts[FOREIGN] = self.texts[SESSIONS[0]]
        self.places: dict[str, Place] = {}
        self.first: dict[tuple[str, int], bytes] = {}

    @staticmethod
    def _right(native: Native, text: list[int]) -> dict[int, np.ndarray[Any, Any]]:
        """The logits after each position where a step ends, as onnxruntime has them."""
        return {start + count: native.step(text[start : start + count]) for start, count in steps()}

    def hold(self) -> None:
        for name in SESSIONS:
            self.session.decoding.hold(
                name, self.model, backend="wasm", cache_mb=1.0, deadline_s=120
            )

    def asked(self, name: str, step: Step, top_k: int = 0) -> StepAsked:
        header: dict[str, Any] = {
            "epoch": step.epoch, "start": step.start, "count": step.count, "drafted": step.drafted,
            "top_k": top_k,
            "stage": self.stage.to_json(),
        }  # fmt: skip
        tokens = np.array([self.texts[name][step.start : step.end]], np.int64)
        given = [encode_array("input_ids", tokens)]
        return StepAsked(name, self.model, "wasm", header, given)

    def ask(self, name: str, step: Step, top_k: int = 0) -> Any:
        (answer,) = self.session.decoding.steps([self.asked(name, step, top_k)], timeout_s=120)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def play(self) -> Verdict:
        """One random step; what it must have come to."""
        name, step = self._some_step()
        verdict = judge(self.places.get(name), step)
        if verdict.refused:
            with pytest.raises(StepRefused) as refusal:
                self.ask(name, step)
            assert refusal.value.code == verdict
            return verdict
        _, tensors = self.ask(name, step)
        (logits,) = {tensor.name: decode_array(tensor) for tensor in tensors}["logits"]
        np.testing.assert_allclose(logits, self.right[name][step.end], atol=1e-5)
        first = self.first.setdefault((name, step.end), logits.tobytes())
        assert first == logits.tobytes(), f"{name} at {step.end}: other bits than before"
        self.places[name] = after(step)
        return verdict

    def _some_step(self) -> tuple[str, Step]:
        """Mostly the next one; else again, too far, too early, of another epoch, of a foreign session."""
        if self.random.random() < 0.02:
            return FOREIGN, Step(self.random.randint(1, 3), *self.random.choice(steps()[1:]))
        name = self.random.choice(SESSIONS)
        return name, self._step_of(name)

    def _step_of(self, name: str) -> Step:
        place = self.places.get(name)
        epoch = place.epoch if place else 1
        position = place.position if place else 0
        index = next((i for i, (start, _) in enumerate(steps()) if start == position), None)
        if index is None or self.random.random() < 0.02:  # its text is full: a replacement begins
            return Step(epoch + 1, *steps()[0])
        if self.random.random() < 0.3:
            index = self.random.randrange(len(steps()))
            epoch = max(1, epoch + self.random.choice((-1, 0, 0, 1)))
        elif index and self.random.random() < 0.15:
            index -= 1
        return Step(epoch, *steps()[index])


def steps() -> list[tuple[int, int]]:
    return [(0, 8), *((position, 1) for position in range(8, TEXT))]


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


def test_drafted_positions_change_no_bit(player: Player, bench: Bench) -> None:
    """Right or wrong, many or few: a position's logits are those of a step of its own."""
    text = player.texts["one"][:TEXT]
    alone = [player.ask("one", Step(25_000, *step))[1][1].data for step in steps()]
    player.places["one"] = Place(25_000, TEXT, TEXT - 1)
    numbers = random.Random(7)
    player.ask("one", Step(25_001, *steps()[0]))
    start = 8
    while start < TEXT:
        drafted = min(numbers.randint(0, 8), TEXT - start - 1)
        right = numbers.randint(0, drafted)
        wrong = [(token + 1) % VOCABULARY for token in text[start + 1 + right :][: drafted - right]]
        player.texts["one"] = [*text[: start + 1 + right], *wrong]
        _, tensors = player.ask("one", Step(25_001, start, 1 + drafted, drafted))
        player.texts["one"] = text
        rows = decode_array(tensors[1])
        assert rows.shape == (1 + drafted, VOCABULARY)
        for at, row in enumerate(rows[: right + 1]):
            assert row.tobytes() == alone[start + at - 7], f"position {start + at}"
        start += 1 + right
    player.places["one"] = Place(25_001, TEXT, TEXT - 1)


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
