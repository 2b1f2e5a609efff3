"""Asks a page for the steps of sessions, in order and out of it, and knows what it must answer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers.bridge import StepRefused
from browsers.session.decoding import StepAsked
from inference.core.generation.sessions import Place, Step, Verdict, after, judge
from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.store.tensors import decode_array, encode_array
from inference.zoo import decoder
from tests.browser.bench import Bench

VOCABULARY, CONTEXT, TEXT = 512, 256, 48
SESSIONS = ("one", "two", "three")
"""Each has a text of its own; a prompt of 8 tokens in one step, then one token a step."""
FOREIGN = "another"
"""A session that was never begun here."""


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
