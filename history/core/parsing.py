"""Rows of an imported file as observations: every column by its type, whatever the format held."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from history.core.samples import Blame, Kind, Observation

REQUIRED: Final = ("timestamp", "browser", "model_type", "model_name", "success")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("expected a number")
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)  # not by way of a float, which holds 15 digits
    number = _number(value)
    if number != int(number):  # infinity and NaN raise here, too
        raise ValueError("expected a whole number")
    return int(number)


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False}
    if not isinstance(value, str) or value.lower() not in known:
        raise ValueError("expected true or false")
    return known[value.lower()]


def _time(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _document(value: Any) -> Mapping[str, Any]:
    document = json.loads(value) if isinstance(value, str) else value
    if not isinstance(document, dict):
        raise TypeError("expected a JSON object")
    return document


_BY_TYPE: Final[dict[str, Callable[[Any], Any]]] = {
    "str": _text,
    "Kind": Kind,
    "Blame": Blame,
    "int": _integer,
    "float": _number,
    "bool": _truth,
    "datetime": _time,
    "Mapping[str, Any]": _document,
}
# Annotations are strings: `from __future__ import annotations` in samples.py.
_PARSERS: Final = {
    field.name: _BY_TYPE[str(field.type).removesuffix(" | None")]
    for field in dataclasses.fields(Observation)
}


def parse(row: Mapping[str, Any], *, source: str, number: int) -> Observation:
    """The observation of a row; one without a source of its own gets `source` and `number`.

    None and the empty text are missing values.

    Raises:
        ValueError: names the column, what it held and what was expected.
    """
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    if missing := [name for name in REQUIRED if name not in given]:
        raise ValueError(f"{', '.join(missing)} missing")
    fields: dict[str, Any] = {"source": source, "source_id": number}
    for name, value in given.items():
        try:
            fields[name] = _PARSERS[name](value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"{name} {str(value)[:80]!r}: {error}") from None
    if ("source" in given) != ("source_id" in given):
        raise ValueError("source and source_id: expected both or neither")
    return Observation(**fields)
