"""Answers of a shard that another browser is asked to confirm, as `RunStep.doubt` keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from inference.documents import JsonObject, JsonView
from inference.models import RunStep
from inference.store.tensors import TensorRef, refs_of


@dataclass(frozen=True)
class KeptAnswer:
    """What a browser answered: its outputs by tensor. `backend` "": not known."""

    browser: str
    backend: str
    outputs: Mapping[str, TensorRef]


@dataclass(frozen=True)
class Doubt:
    """Why answers are to be confirmed, and those there are, in the order in which they came.

    `compared`: the caller wants all answers confirmed; else `why` says what is odd about them.
    """

    why: str
    compared: bool
    answers: tuple[KeptAnswer, ...] = ()

    def after(self, answer: KeptAnswer) -> Doubt:
        return replace(self, answers=(*self.answers, answer))

    @property
    def refs(self) -> list[TensorRef]:
        """All that is stored of the answers."""
        return [ref for answer in self.answers for ref in answer.outputs.values()]


def doubt_of(step: RunStep) -> Doubt | None:
    """None: nothing is to be confirmed."""
    return from_json(step.doubt) if step.doubt else None


def answers_of(step: RunStep) -> Sequence[KeptAnswer]:
    doubt = doubt_of(step)
    return doubt.answers if doubt else ()


def from_json(item: JsonView) -> Doubt:
    answers = (
        KeptAnswer(
            answer["browser"],
            answer["backend"],
            refs_of(answer["outputs"]),
        )
        for answer in item["answers"]
    )
    return Doubt(item["why"], item["compared"], tuple(answers))


def to_json(doubt: Doubt) -> JsonObject:
    answers = [
        {
            "browser": answer.browser,
            "backend": answer.backend,
            "outputs": {tensor: ref.to_json() for tensor, ref in answer.outputs.items()},
        }
        for answer in doubt.answers
    ]
    return {"why": doubt.why, "compared": doubt.compared, "answers": answers}
