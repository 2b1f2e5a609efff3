"""What is known of a language model besides its graph: what tokens mean, how chats are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from inference.documents import JsonObject, JsonView

_LISTS: Final = ("stop_tokens", "notes", "begins", "suppress_tokens", "begin_suppress_tokens")


@dataclasses.dataclass(frozen=True)
class Described:
    """Of a language model.

    Attributes:
        context: the most positions it may hold; 0: unknown.
        stop_tokens: ids that end a text.
        chat_template: Jinja; "" when it has none.
        special: names of special tokens that templates use, with their text.
        called: usual names of inputs that have their own, such as {"tokens": "input_ids"}.
        encoder: the model, registered before, that makes what this one listens to; "": none.
        begins: tokens that its texts begin with then.
        suppress_tokens: ids that are never written.
        begin_suppress_tokens: ids that are not written as the first of a text.
        claimed: it is said to be a decoder: a graph that is none is refused then.
        notes: for people: in what form weights are held, what was left out.
    """

    architecture: str = ""
    context: int = 0
    stop_tokens: tuple[int, ...] = ()
    chat_template: str = ""
    special: Mapping[str, str] = dataclasses.field(default_factory=dict)
    called: Mapping[str, str] = dataclasses.field(default_factory=dict)
    encoder: str = ""
    begins: tuple[int, ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    claimed: bool = True
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: JsonView) -> Described:
        lists = {key: tuple(document[key]) for key in _LISTS}
        return cls(**{**document, **lists})

    def to_json(self) -> JsonObject:
        document = dataclasses.asdict(self)
        return {**document, **{key: list(document[key]) for key in _LISTS}}
