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
        encoder: the model, registered before, that makes what this one listens to; "": none.
        begins: tokens that its texts begin with then.
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
    claimed: bool = True
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: JsonView) -> Described:
        lists = {key: tuple(document[key]) for key in ("stop_tokens", "notes", "begins")}
        return cls(**{**document, **lists})

    def to_json(self) -> JsonObject:
        lists = {
            "stop_tokens": list(self.stop_tokens),
            "notes": list(self.notes),
            "begins": list(self.begins),
        }
        return {**dataclasses.asdict(self), **lists}
