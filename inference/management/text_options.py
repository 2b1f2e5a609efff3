"""How a text is written, in the command line: the fields of /v1/, read as /v1/ reads them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Final

from inference.documents import JsonObject, JsonView
from inference.runs.option_kinds import Kind
from inference.wire.openai.fields import Endpoint, Field, fields_of
from inference.wire.openai.kinds import Count, Number

SAMPLED: Final = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "seed",
)  # fmt: skip
TAKEN: Final = (*SAMPLED, "max_tokens", "shards", "browsers", "platform", "standbys")
# Where a person at a terminal wants something else than a program does.
_OWN: Final[Mapping[str, object]] = {"temperature": 0.0, "seed": 0, "max_tokens": None}


def add_text_options(parser: ArgumentParser, told: Mapping[str, str]) -> None:
    """A flag for each; `told`: what is said of some, in place of what /v1/ says."""
    for field in _taken():
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_type(field.kind),
            metavar=field.name.upper(),
            help=told.get(field.name, field.help).replace("%", "%%"),
        )


def read_text_options(given: JsonView, stop: Sequence[str]) -> JsonObject:
    """What a command was given of them, and `stop`; one that was left out has its default.

    Raises:
        InvalidRequest: a value that cannot be, in the words of /v1/.
    """
    by_name = {field.name: field for field in fields_of(Endpoint.COMPLETIONS)}
    found: JsonObject = {"stop": by_name["stop"].kind.read("stop", list(stop))}
    for field in _taken():
        value = given[field.name]
        default = _OWN.get(field.name, field.default)
        found[field.name] = default if value is None else field.kind.read(field.name, value)
    return found


def _taken() -> list[Field]:
    return [field for field in fields_of(Endpoint.COMPLETIONS) if field.name in TAKEN]


def _type(kind: Kind) -> type[int | float | str]:
    if isinstance(kind, Count):
        return int
    return float if isinstance(kind, Number) else str
