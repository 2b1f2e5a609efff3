"""What is known of a language model besides its graph: what tokens mean, how chats are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from inference.documents import JsonObject, JsonView


@dataclasses.dataclass(frozen=True)
class Described:
    """Of a language model.

    Attributes:
        context: the most positions it may hold; 0: unknown.
        stop_tokens: ids that end a text.
        chat_template: Jinja; "" when it has none.
        special: names of special tokens that templates use, with their text.
        called: usual names of inputs that have their own, such as {"tokens": "input_ids"}.
        weights: in what form they are held, for people.
    """

    architecture: str = ""
    context: int = 0
    stop_tokens: tuple[int, ...] = ()
    chat_template: str = ""
    special: Mapping[str, str] = dataclasses.field(default_factory=dict)
    called: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weights: str = ""

    @classmethod
    def from_json(cls, document: JsonView) -> Described:
        return cls(**{**document, "stop_tokens": tuple(document["stop_tokens"])})

    def to_json(self) -> JsonObject:
        return {**dataclasses.asdict(self), "stop_tokens": list(self.stop_tokens)}
