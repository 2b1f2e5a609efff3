"""What the value of a field may be; each kind reads a value or refuses it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import ClassVar

from inference.core.generation.wording.grammar import MOST_CHARACTERS, json_grammar
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.runs.option_kinds import Kind

MOST_BIASES = 1024
MOST_BIAS = 100
MOST_STOPS = 4
MOST_STOP_CHARACTERS = 1000
MOST_TOKEN = 2**31 - 1
# What a chat template knows from the request's other fields, from the model, and of the answer.
_NO_WORDS = frozenset(
    (
        *("messages", "tools", "add_generation_prompt"),
        *(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
    )
)


@dataclasses.dataclass(frozen=True)
class Text(Kind):
    """A text of at least one character."""

    expected: ClassVar[str] = "a text of at least one character"

    def read(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self.refusal(name, value)
        return value


@dataclasses.dataclass(frozen=True)
class Number(Kind):
    """A number between two bounds, both included."""

    least: float
    most: float

    @property
    def expected(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    def read(self, name: str, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not self.least <= value <= self.most
        ):
            raise self.refusal(name, value)
        return float(value)


@dataclasses.dataclass(frozen=True)
class Count(Kind):
    """A whole number between two bounds, both included."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, name: str, value: object) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise self.refusal(name, value)
        return value


@dataclasses.dataclass(frozen=True)
class Stops(Kind):
    """Texts that end an answer."""

    expected: ClassVar[str] = (
        f"a text, or a list of at most {MOST_STOPS}, each of 1 to {MOST_STOP_CHARACTERS} characters"
    )

    def read(self, name: str, value: object) -> tuple[str, ...]:
        stops = [value] if isinstance(value, str) else value
        if not isinstance(stops, list) or len(stops) > MOST_STOPS:
            raise self.refusal(name, value)
        for stop in stops:
            if not isinstance(stop, str) or not 0 < len(stop) <= MOST_STOP_CHARACTERS:
                raise self.refusal(name, value)
        return tuple(stops)


@dataclasses.dataclass(frozen=True)
class Tokens(Kind):
    """Numbers of tokens of the model's own."""

    expected: ClassVar[str] = f"a list of at most {MOST_BIASES} numbers of the model's tokens"

    def read(self, name: str, value: object) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > MOST_BIASES or not all(map(is_token, value)):
            raise self.refusal(name, value)
        return tuple(value)


@dataclasses.dataclass(frozen=True)
class Biases(Kind):
    """What is added to the logits of tokens."""

    expected: ClassVar[str] = (
        f"an object of at most {MOST_BIASES} numbers of the model's tokens, each with a number from "
        f"-{MOST_BIAS} to {MOST_BIAS}"
    )

    def read(self, name: str, value: object) -> dict[int, float]:
        if not isinstance(value, dict) or len(value) > MOST_BIASES:
            raise self.refusal(name, value)
        found: dict[int, float] = {}
        for token, bias in value.items():
            number = isinstance(bias, (int, float)) and not isinstance(bias, bool)
            digits = token.isascii() and token.isdigit() and len(token) < 10
            if not digits or not number or not -MOST_BIAS <= bias <= MOST_BIAS:
                raise self.refusal(name, {token: bias})
            if int(token) in found:
                raise InvalidRequest(f"{name}: expected each token once, got {int(token)} twice")
            found[int(token)] = float(bias)
        return found


@dataclasses.dataclass(frozen=True)
class StreamOptions(Kind):
    """How an answer is streamed; read as whether its usage is told at the end."""

    expected: ClassVar[str] = 'an object with "include_usage": true or false, and nothing else'

    def read(self, name: str, value: object) -> bool:
        if not isinstance(value, dict) or value.keys() - {"include_usage", "include_obfuscation"}:
            raise self.refusal(name, value)
        # Obfuscation pads events against who listens to an encrypted line: there is none here.
        if value.get("include_obfuscation") not in (None, False):
            raise self.refusal(name, value)
        usage = value.get("include_usage")
        if usage is not None and not isinstance(usage, bool):
            raise self.refusal(name, value)
        return bool(usage)


@dataclasses.dataclass(frozen=True)
class Words(Kind):
    """What a chat template is told beside the messages, such as {"enable_thinking": false}."""

    expected: ClassVar[str] = (
        "an object without `messages`, `tools`, `add_generation_prompt`, or a special token such as "
        "`bos_token`"
    )

    def read(self, name: str, value: object) -> JsonObject:
        if not isinstance(value, dict):
            raise self.refusal(name, value)
        if own := sorted(value.keys() & _NO_WORDS):
            raise self.refusal(name, {own[0]: value[own[0]]})
        return value


@dataclasses.dataclass(frozen=True)
class Form(Kind):
    """The form of an answer; read as a grammar, "" where any text will do."""

    expected: ClassVar[str] = (
        '{"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", "json_schema": {"name": …, '
        '"schema": {…}}}'
    )

    def read(self, name: str, value: object) -> str:
        match value:
            case {"type": "text", **more} if not more:
                return ""
            case {"type": "json_object", **more} if not more:
                return json_grammar({"type": "object"})
            case {"type": "json_schema", "json_schema": dict(given), **more} if not more:
                return self._of_schema(name, value, given)
        raise self.refusal(name, value)

    def _of_schema(self, name: str, value: object, given: JsonView) -> str:
        schema, strict = given.get("schema", {}), given.get("strict")
        texts = (given.get("name"), given.get("description", ""))
        known = not given.keys() - {"name", "description", "schema", "strict"}
        if (
            not known
            or not isinstance(schema, dict)
            or not (strict is None or isinstance(strict, bool))
            or not all(isinstance(text, str) for text in texts)
        ):
            raise self.refusal(name, value)
        grammar = json_grammar(schema)
        if len(grammar) > MOST_CHARACTERS:
            raise InvalidRequest(
                f"{name}: expected a schema of at most {MOST_CHARACTERS} characters, got {len(grammar)}"
            )
        return grammar


@dataclasses.dataclass(frozen=True)
class Language(Kind):
    """A language by its code in ISO 639."""

    expected: ClassVar[str] = "two or three letters, such as en"

    def read(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch("[a-z]{2,3}", value):
            raise self.refusal(name, value)
        return value


@dataclasses.dataclass(frozen=True)
class Anything(Kind):
    """Read further by who knows more of it."""

    what: str

    @property
    def expected(self) -> str:
        return self.what

    def read(self, name: str, value: object) -> object:
        return value


@dataclasses.dataclass(frozen=True)
class Only(Kind):
    """A field that is not served: the values that ask for nothing are taken, every other is refused."""

    harmless: tuple[object, ...]
    why: str

    @property
    def expected(self) -> str:
        taken = ", ".join(map(json.dumps, self.harmless)) if self.harmless else "null"
        return f"{taken} ({self.why})"

    def read(self, name: str, value: object) -> object:
        if not any(type(value) is type(one) and value == one for one in self.harmless):
            raise self.refusal(name, value)
        return value


def is_token(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST_TOKEN
