"""What the value of an option may be: each kind reads a value or refuses it, in the same words everywhere."""

from __future__ import annotations

import abc
import dataclasses
import re
from typing import Any, ClassVar

from django.conf import settings

from inference.errors import InvalidRequest

_PIN = re.compile(r"(\d{1,6})=([\w.-]*(?:/\w+)?)")
_YES, _NO = ("true", "on", "yes", "1"), ("false", "off", "no", "0")


class Kind(abc.ABC):
    """A kind of value."""

    @property
    @abc.abstractmethod
    def expected(self) -> str:
        """What a value must be, as it ends the sentence "expected …"."""

    @abc.abstractmethod
    def read(self, name: str, value: object) -> Any:
        """The value as a run takes it; `name` is what a refusal calls it.

        Raises:
            InvalidRequest: another form, or out of bounds.
        """

    def from_text(self, text: str) -> object:
        """What a form or a command line writes, as JSON would have it; text, where it is not of this kind."""
        return text

    def refusal(self, name: str, value: object) -> InvalidRequest:
        return InvalidRequest(f"{name}: expected {self.expected}, got {_shown(value)}")


@dataclasses.dataclass(frozen=True)
class Choice(Kind):
    """One of some words; the empty one is the same as none at all."""

    values: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.values)}"

    def read(self, name: str, value: object) -> str:
        if value != "" and value not in self.values:
            raise self.refusal(name, value)
        return str(value)


@dataclasses.dataclass(frozen=True)
class Whole(Kind):
    """A whole number between two bounds, both included; its digits as a string will do."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, name: str, value: object) -> int:
        number = int(value) if isinstance(value, str) and _is_digits(value) else value
        if type(number) is not int or not self.least <= number <= self.most:
            raise self.refusal(name, value)
        return number

    def from_text(self, text: str) -> object:
        return int(text) if _is_digits(text) else text


@dataclasses.dataclass(frozen=True)
class Seconds(Kind):
    """A deadline, in seconds from now."""

    @property
    def expected(self) -> str:
        return f"a number of seconds above 0 and at most {longest_deadline_s():g}"

    def read(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refusal(name, value)
        if not 0 < value <= longest_deadline_s():
            raise self.refusal(name, value)
        return float(value)

    def from_text(self, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text


@dataclasses.dataclass(frozen=True)
class Microseconds(Kind):
    """The same in microseconds; read as seconds."""

    @property
    def expected(self) -> str:
        return f"a whole number of microseconds from 1 to {int(longest_deadline_s() * 1e6)}"

    def read(self, name: str, value: object) -> float:
        if type(value) is not int or not 1 <= value <= longest_deadline_s() * 1e6:
            raise self.refusal(name, value)
        return value / 1e6


@dataclasses.dataclass(frozen=True)
class Flag(Kind):
    expected: ClassVar[str] = "true or false"

    def read(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.refusal(name, value)
        return value

    def from_text(self, text: str) -> object:
        word = text.lower()
        return True if word in _YES else False if word in _NO else text


@dataclasses.dataclass(frozen=True)
class Names(Kind):
    """Some names, in order: a list, or one text with commas."""

    expected: ClassVar[str] = "names by comma, or a list of them"

    def read(self, name: str, value: object) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)) or not all(isinstance(p, str) for p in parts):
            raise self.refusal(name, value)
        return tuple(filter(None, map(str.strip, parts)))


@dataclasses.dataclass(frozen=True)
class Pins(Kind):
    """Shard → where: an object, or `0=chromium/webgpu,1=/wasm`, or a list of such parts."""

    expected: ClassVar[str] = (
        "SHARD=BROWSER, SHARD=BROWSER/PLATFORM or SHARD=/PLATFORM, such as 0=chromium/webgpu"
    )

    def read(self, name: str, value: object) -> dict[int, str]:
        parts: object
        if isinstance(value, dict):
            parts = [f"{shard}={where}" for shard, where in value.items()]
        else:
            parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)) or not all(isinstance(p, str) for p in parts):
            raise self.refusal(name, value)
        pins: dict[int, str] = {}
        for part in filter(None, map(str.strip, parts)):
            match = _PIN.fullmatch(part)
            if not match or not match[2]:
                raise self.refusal(name, part)
            if int(match[1]) in pins:
                raise InvalidRequest(f"{name}: shard {match[1]} is pinned twice")
            pins[int(match[1])] = match[2]
        return pins


def longest_deadline_s() -> float:
    """A run's tensors must outlive it, and its answer must be there for a while yet."""
    return settings.WEBPOOL_TENSOR_TTL_S / 2


def _is_digits(text: str) -> bool:
    return re.fullmatch(r"\d{1,9}", text) is not None


def _shown(value: object) -> str:
    """A value for a message; Python writes no whole number of more than 4,300 digits."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return f"{type(value).__name__} of too many digits to be shown"
