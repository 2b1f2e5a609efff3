"""How a caller says where and how a run should go: the words of every door, checked once.

A door whose parameters are scalars (the Open Inference Protocol) writes lists with commas:
`browsers: "chromium,firefox"`, `pins: "0=chromium/webgpu,1=/wasm"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings

from inference.errors import InvalidRequest
from inference.models import Redundancy, Strategy

MOST_RETRIES = 100
_PIN = re.compile(r"(\d{1,6})=([\w.-]*(?:/\w+)?)")


def parse_pins(items: Iterable[str]) -> dict[int, str]:
    """`["0=chromium/webgpu", "1=/wasm"]` → `{0: "chromium/webgpu", 1: "/wasm"}`.

    Raises:
        InvalidRequest: an entry of another form, or a shard that is pinned twice.
    """
    pins: dict[int, str] = {}
    for item in items:
        match = _PIN.fullmatch(item)
        if not match or not match[2]:
            raise InvalidRequest(
                f"pin {item!r}: expected SHARD=BROWSER, SHARD=BROWSER/PLATFORM or SHARD=/PLATFORM, "
                "such as 0=chromium/webgpu"
            )
        if int(match[1]) in pins:
            raise InvalidRequest(f"pin {item!r}: shard {match[1]} is pinned twice")
        pins[int(match[1])] = match[2]
    return pins


def parse_options(given: Mapping[str, Any], known: Iterable[str] = ()) -> dict[str, Any]:
    """Turn a door's parameters into keyword arguments of `RunRequest`.

    Takes strategy, shards, data_parallel, platform, browsers, pins, max_retries, deadline_s, timeout
    (microseconds, as the Open Inference Protocol has it), strict, critical, redundancy and
    allow_unproved_split. `known` names further parameters that the door reads itself.

    Raises:
        InvalidRequest: an unknown parameter or a value of the wrong form.
    """
    unknown = sorted(set(given) - set(_READERS) - set(known))
    if unknown:
        raise InvalidRequest(
            f"unknown parameter {', '.join(unknown)}; expected {', '.join([*_READERS, *known])}"
        )
    if "timeout" in given and "deadline_s" in given:
        raise InvalidRequest("expected timeout (microseconds) or deadline_s, got both")
    options: dict[str, Any] = {}
    for name, read in _READERS.items():
        if (value := given.get(name)) is not None:
            options["deadline_s" if name == "timeout" else name] = read(name, value)
    return options


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"parameter {name}: expected a string, got {value!r:.100}")
    return value.strip()


def _strategy(name: str, value: Any) -> str:
    if value not in Strategy.values:
        raise InvalidRequest(
            f"parameter {name}: expected one of {', '.join(Strategy.values)}, got {value!r:.100}"
        )
    return str(value)


def _redundancy(name: str, value: Any) -> str:
    if value not in Redundancy.values:
        expected = ", ".join(filter(None, Redundancy.values))
        raise InvalidRequest(f"parameter {name}: expected one of {expected}, got {value!r:.100}")
    return str(value)


def _names(name: str, value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else _text(name, value).split(",")
    return tuple(part for item in parts if (part := _text(name, item)))


def _pins(name: str, value: Any) -> dict[int, str]:
    if isinstance(value, dict):
        return parse_pins(f"{index}={_text(name, wish)}" for index, wish in value.items())
    return parse_pins(_names(name, value))


def _whole(least: int, most: int) -> Any:
    def read(name: str, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            raise InvalidRequest(
                f"parameter {name}: expected a whole number from {least} to {most}, got {_shown(value)}"
            )
        return value

    return read


def longest_deadline_s() -> float:
    """A run's tensors must outlive it, and its answer must be there for a while yet."""
    return settings.WEBPOOL_TENSOR_TTL_S / 2


def deadline_seconds(name: str, value: Any) -> float:
    """A deadline in seconds, as every door and setting gives it.

    Raises:
        InvalidRequest: no number, not above 0, not finite, or beyond `longest_deadline_s`.
    """
    most = longest_deadline_s()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= most:
        raise InvalidRequest(
            f"{name}: expected a number of seconds above 0, at most {most:g}; got {_shown(value)}"
        )
    return float(value)


def _microseconds(name: str, value: Any) -> float:
    most = int(longest_deadline_s() * 1e6)
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidRequest(
            f"parameter {name}: expected a whole number of microseconds from 1 to {most}, "
            f"got {_shown(value)}"
        )
    return value / 1e6


def _shown(value: Any) -> str:
    """A value for a message; Python writes no whole number of more than 4,300 digits."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return f"{type(value).__name__} of too many digits to be shown"


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"parameter {name}: expected true or false, got {value!r:.100}")
    return value


_READERS: Mapping[str, Any] = {
    "strategy": _strategy,
    "shards": _whole(1, 10_000),
    "data_parallel": _whole(1, 10_000),
    "platform": _text,
    "browsers": _names,
    "pins": _pins,
    "max_retries": _whole(0, MOST_RETRIES),
    "deadline_s": deadline_seconds,
    "timeout": _microseconds,
    "strict": _flag,
    "critical": _flag,
    "redundancy": _redundancy,
    "allow_unproved_split": _flag,
}
