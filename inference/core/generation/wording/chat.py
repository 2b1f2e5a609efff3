"""A chat as the text that a model continues: its own template, rendered as transformers renders it.

A template is a stranger's program. Jinja's sandbox keeps it from Python's own objects, not from looping or
growing: it is rendered in a process with limits.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.documents import JsonView

MOST_CHARACTERS: Final = 2**22
_INDENTS: Final = 16


class RefusedChat(ValueError):
    """The template refuses the chat, or is none; its own words."""


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks an assistant's words, for training: its body is text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: object) -> NoReturn:
    raise RefusedChat(str(message))


def _now(form: str) -> str:
    return dt.datetime.now(dt.UTC).strftime(form)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without Jinja's own escapes for HTML."""
    if indent is not None and not 0 <= int(indent) <= _INDENTS:
        _refuse(f"tojson: expected an indent from 0 to {_INDENTS}, got {indent!r:.40}")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


class Template:
    """A chat template, compiled once."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """`special`: text of special tokens by the names that templates use, such as `bos_token`.

        Raises:
            RefusedChat: it is no template.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        self._special = dict(special)
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, SyntaxError) as error:
            raise RefusedChat(f"it is no Jinja template: {error}") from error

    def render(
        self,
        messages: Sequence[JsonView],
        more: JsonView | None = None,
        *,
        begins_answer: bool = True,
    ) -> str:
        """The chat as text.

        Args:
            messages: each with `role` and `content`.
            more: what the template knows beside it.
            begins_answer: the text ends where the assistant's answer begins.

        Raises:
            RefusedChat: what the template says against it, an error in it, or too long a text.
        """
        known = {
            **self._special, "tools": None, "documents": None, **(more or {}),
            "messages": messages, "add_generation_prompt": begins_answer,
        }  # fmt: skip
        pieces, length = [], 0
        try:
            for piece in self._template.generate(known):
                pieces.append(piece)
                length += len(piece)
                if length > MOST_CHARACTERS:
                    _refuse(f"it writes more than {MOST_CHARACTERS} characters")
        except RefusedChat:
            raise
        except MemoryError:
            raise
        except Exception as error:  # a template finds every way to fail that Python has
            raise RefusedChat(f"{type(error).__name__}: {error}") from error
        return "".join(pieces)
