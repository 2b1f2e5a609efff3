"""Steps of several texts in one run of their model: the bits of each alone, whoever comes, leaves, fails."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers.bridge import Refusal, Reply, StepRefused
from browsers.core.errors import BrowserError
from browsers.session.decoding import StepAsked
from inference.core.generation.batches import batch_of
from inference.core.generation.sessions import Step, Verdict
from inference.graph.decoding import found
from inference.store.tensors import encode_array
from inference.zoo import decoder
from inference.zoo.decoder import DecoderConfig
from tests.browser.bench import Bench, started

VOCABULARY = 512
SHORT = DecoderConfig(tied=False)
LONG = DecoderConfig(layers=2, hidden=128, heads=4, groups=2, head_size=64, context=512)
"""Its sums over keys have pieces of 256."""
EQUAL = DecoderConfig(layers=2, heads=2, groups=2, windows=(5, 0))
"""A head for each query's, and a layer that sees five positions."""


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def bench(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("batches")
    with started(request.param, folder, memory_limit_mb=3500, backends={"wasm"}) as made:
        yield made


class Texts:
    """Texts whose logits after each token are known: of steps that were computed alone."""

    def __init__(
        self, bench: Bench, folder: Path, config: DecoderConfig, prompts: Sequence[int], steps: int
    ) -> None:
        path = decoder.graph(config).save(folder / "model.onnx")
        self.stage = found.read_file(path).found.whole
        assert self.stage.any_row
        self.model = bench.put(path.read_bytes())
        self.decoding = bench.session.decoding
        numbers = np.random.default_rng(11)
        self.prompts = prompts
        self.texts = [numbers.integers(0, VOCABULARY, n + steps).tolist() for n in prompts]
        self.alone = [self._alone(text, n) for text, n in zip(self.texts, prompts, strict=True)]
        for name in range(len(prompts)):
            self.begin(name)

    def _alone(self, text: list[int], prompt: int) -> dict[int, bytes]:
        self._hold("alone")
        steps = [Step(1, 0, prompt), *(Step(1, at, 1) for at in range(prompt, len(text)))]
        bits = {step.end: bits_of(self.ask([self.asked("alone", step, text)])[0]) for step in steps}
        self.decoding.release("alone")
        return bits

    def _hold(self, holder: str) -> None:
        self.decoding.hold(holder, self.model, backend="wasm", cache_mb=1.0, deadline_s=120)

    def begin(self, name: int) -> None:
        self._hold(str(name))
        self.ask([self.asked(str(name), Step(1, 0, self.prompts[name]), self.texts[name])])

    def asked(self, holder: str, step: Step, text: Sequence[int]) -> StepAsked:
        header = {
            "epoch": step.epoch, "start": step.start, "count": step.count, "drafted": step.drafted,
            "top_k": 0, "stage": self.stage.to_json(),
        }  # fmt: skip
        tokens = np.array([text[step.start : step.end]], np.int64)
        batch = None if holder == "alone" else batch_of(self.stage, step)
        given = [encode_array("input_ids", tokens)]
        return StepAsked(holder, self.model, "wasm", header, given, batch)

    def ask(self, asked: Sequence[StepAsked]) -> list[Reply | Refusal]:
        return self.decoding.steps(asked, timeout_s=120)

    def next(self, name: int, position: int) -> StepAsked:
        return self.asked(str(name), Step(1, position, 1), self.texts[name])

    def release(self) -> None:
        for name in range(len(self.prompts)):
            self.decoding.release(str(name))


def bits_of(answer: Reply | Refusal) -> bytes:
    """Of the logits of its last position."""
    assert not isinstance(answer, Exception), answer
    logits = next(tensor for tensor in answer[1] if tensor.name == "logits")
    return bytes(logits.data)[-4 * VOCABULARY :]


def together(answer: Reply | Refusal) -> int:
    assert not isinstance(answer, Exception), answer
    return int(answer[0].get("together", 1))


@pytest.mark.parametrize(
    ("config", "prompts"),
    [
        (SHORT, (1, 2, 5, 15, 16, 17, 40, 100)),
        (EQUAL, (1, 2, 3, 8, 15, 16, 31, 33)),
        (LONG, (3, 130, 250, 251, 255, 256, 257, 300)),
    ],
)
def test_eight_ragged_texts_have_the_bits_of_each_alone(
    bench: Bench, tmp_path: Path, config: DecoderConfig, prompts: Sequence[int]
) -> None:
    texts = Texts(bench, tmp_path, config, prompts, 12)
    sizes = set()
    for at in range(12):
        positions = [prompt + at for prompt in prompts]
        answers = texts.ask([texts.next(name, each) for name, each in enumerate(positions)])
        for name, (answer, position) in enumerate(zip(answers, positions, strict=True)):
            assert bits_of(answer) == texts.alone[name][position + 1], f"{name} at {position}"
            sizes.add(together(answer))
    assert sizes == {8} if config is not LONG else sizes >= {3, 5}
    texts.release()


def test_they_come_and_leave_in_any_order(bench: Bench, tmp_path: Path) -> None:
    """Some of them each time, some with drafts that are wrong, some replaced or asked again."""
    prompts = (2, 7, 16, 23, 30)
    texts = Texts(bench, tmp_path, SHORT, prompts, 30)
    positions, numbers = list(prompts), random.Random(3)
    while min(positions) < min(map(len, texts.texts)) - 3:
        names = [name for name in range(5) if positions[name] < len(texts.texts[name]) - 3]
        some = numbers.sample(names, numbers.randint(1, len(names)))
        for name in some:
            if numbers.random() < 0.05:
                texts.decoding.release(str(name))
                texts.begin(name)
                positions[name] = prompts[name]
        asked = [texts.next(name, positions[name]) for name in some]
        if numbers.random() < 0.2:
            first = some[0]
            wrong = [*texts.texts[first][: positions[first] + 1], 1, 2]
            asked[0] = texts.asked(str(first), Step(1, positions[first], 3, 2), wrong)
        answers = texts.ask(asked)
        if numbers.random() < 0.2:
            assert texts.ask(asked) == answers or [bits_of(a) for a in texts.ask(asked)] == [
                bits_of(a) for a in answers
            ]
        for name, each, answer in zip(some, asked, answers, strict=True):
            positions[name] += 1
            if not each.step["drafted"]:
                assert bits_of(answer) == texts.alone[name][positions[name]]
    texts.release()


def test_what_fails_in_one_costs_the_others_nothing(bench: Bench, tmp_path: Path) -> None:
    prompts = (4, 9, 11, 20)
    texts = Texts(bench, tmp_path, SHORT, prompts, 6)
    ask = [texts.next(name, prompt) for name, prompt in enumerate(prompts)]
    ask[1] = texts.next(1, prompts[1] + 2)
    ask[3] = texts.asked("3", Step(1, prompts[3], 1), [VOCABULARY + 7] * 40)
    answers = texts.ask(ask)
    for name in (0, 2):
        assert bits_of(answers[name]) == texts.alone[name][prompts[name] + 1]
    assert isinstance(answers[1], StepRefused)
    assert answers[1].code == Verdict.GAP
    assert isinstance(answers[3], BrowserError), "a token that the model does not have"
    later = [prompts[0] + 1, prompts[1], prompts[2] + 1, prompts[3]]
    answers = texts.ask([texts.next(name, at) for name, at in enumerate(later)])
    for name, (answer, at) in enumerate(zip(answers, later, strict=True)):
        assert bits_of(answer) == texts.alone[name][at + 1]
        assert together(answer) == 4
    texts.release()
