"""Tokens that a model never writes, as published models list them."""

from __future__ import annotations

import dataclasses
from typing import Final

from inference.documents import JsonView

_USUAL: Final = -1
"""Stands for the tokens of OpenAI's tokenizer that are no speech, which nothing beside the model lists."""


@dataclasses.dataclass(frozen=True)
class Suppressed:
    """`tokens`: never written; `first`: nor these as the first of a text; `notes`: for people."""

    tokens: tuple[int, ...]
    first: tuple[int, ...]
    notes: tuple[str, ...]


def suppressed(document: JsonView, tokens: str, first: str) -> Suppressed:
    """What a document lists under these keys; null and a missing key are an empty list.

    Whether the model has such tokens is for who knows its graph to say.

    Raises:
        ValueError: it is no list of whole numbers from 0 on, or -1.
    """
    listed = {key: _listed(document, key) for key in (tokens, first)}
    never, not_first = (
        tuple(sorted(set(numbers) - {_USUAL})) for numbers in (listed[tokens], listed[first])
    )
    notes = []
    if never:
        notes.append(f"{_counted(never)} never written ({tokens})")
    if not_first:
        notes.append(f"{_counted(not_first)} not written as a text's first one ({first})")
    notes += [
        f"{key} has {_USUAL}, which stands for a list that it does not give: that list is not applied"
        for key, numbers in listed.items()
        if _USUAL in numbers
    ]
    return Suppressed(never, not_first, tuple(notes))


def _listed(document: JsonView, key: str) -> list[int]:
    found = document.get(key)
    numbers = [] if found is None else found
    if not isinstance(numbers, list) or not all(
        type(one) is int and one >= _USUAL for one in numbers
    ):
        raise ValueError(f"{key}: expected a list of tokens' ids, got {found!r:.80}")
    return numbers


def _counted(tokens: tuple[int, ...]) -> str:
    return "1 token is" if len(tokens) == 1 else f"{len(tokens)} tokens are"
