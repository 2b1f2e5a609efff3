"""Tools that a model may call: found in its text, in the form that its chat template teaches it.

Two forms are known. Hermes' (Qwen 2.5 and 3, SmolLM, Hermes): each call between `<tool_call>` and
`</tool_call>`, as {"name", "arguments"}. Llama's (3.1 and later): the whole text is a call, or calls with a
semicolon between, as {"name", "parameters"}.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inference.core.generation.wording.grammar import guided
from inference.documents import JsonObject, JsonView

_BEGIN, _END = "<tool_call>", "</tool_call>"


class ToolForm(enum.Enum):
    """How calls are written; the value is what the arguments are called."""

    HERMES = "arguments"
    LLAMA = "parameters"


@dataclass(frozen=True)
class Tool:
    """`parameters`: JSON Schema of its arguments; `strict`: a call must have them."""

    name: str
    parameters: JsonView
    strict: bool = False


@dataclass(frozen=True)
class Call:
    """Call `index` of an answer; `arguments` is JSON."""

    index: int
    name: str
    arguments: str


def form_of(template: str) -> ToolForm | None:
    """The form that a chat template teaches; None: none that is known, or it knows no tools."""
    if "tools" not in template:
        return None
    if _BEGIN in template:
        return None if "<function=" in template else ToolForm.HERMES
    if "<|python_tag|>" in template or "ipython" in template:
        return ToolForm.LLAMA
    return None


def grammar_of(form: ToolForm, tools: Sequence[Tool], *, forced: bool, several: bool) -> str:
    """What holds a text to calls of these tools, or, where none is forced, to words and right calls."""
    rules = [f"c{index}: %json {json.dumps(_call(form, tool))}" for index, tool in enumerate(tools)]
    one = " | ".join(f"c{index}" for index in range(len(tools)))
    if form is ToolForm.LLAMA:
        start = f"start: {one}" if forced else f"start: {one} | text\ntext: /[^{{](.|\\n)*/"
    elif forced:
        more = r' ("\n" call)*' if several else ""
        start = f'start: call{more}\ncall: "{_BEGIN}\\n" ({one}) "\\n{_END}"'
    else:
        start = (
            f'start: call* text\ntext: /(.|\\n)*/\ncall: head "\\n" ({one}) "\\n{_END}"\n'
            f"head[lazy]: /(.|\\n)*{_BEGIN}/"
        )
    return "\n".join([start, *rules, ""])


def _call(form: ToolForm, tool: Tool) -> JsonObject:
    """Definitions that the arguments refer to are looked for at the root."""
    inner = dict(tool.parameters)
    shared = {name: inner.pop(name) for name in list(inner) if name in ("$defs", "definitions")}
    call: JsonObject = {
        "type": "object",
        "properties": {"name": {"const": tool.name}, form.value: inner},
        "required": ["name", form.value],
        "additionalProperties": False,
    }
    return guided({**shared, **call})


class ToolCalls:
    """The calls in one answer's text, as it comes; what is no call stays text.

    Spaces before a call, and those between calls, are no part of the text.
    """

    def __init__(self, form: ToolForm, names: Sequence[str], *, several: bool = True) -> None:
        """`several`: all calls are told, else the first."""
        self._form, self._names, self._several = form, frozenset(names), several
        self._held = ""
        self.count: int = 0

    def add(self, text: str) -> tuple[str, list[Call]]:
        """Take the next text; returns what of it is known to be text, and calls that are complete."""
        self._held += text
        if self._form is ToolForm.LLAMA:
            whole = self._held.lstrip()
            return ("", []) if not whole or whole.startswith("{") else (self._release(), [])
        return self._between()

    def end(self) -> tuple[str, list[Call]]:
        """No more text comes."""
        if self._form is ToolForm.LLAMA:
            found = _several(self._held)
        else:  # a call whose end was cut off
            found = [_document(self._held.lstrip().removeprefix(_BEGIN))]
        calls = self._calls(found)
        if calls is None:
            return self._release(), []
        self._held = ""
        return "", calls

    def _between(self) -> tuple[str, list[Call]]:
        told = ""
        calls: list[Call] = []
        while (at := self._held.find(_BEGIN)) >= 0:
            end = self._held.find(_END, at)
            if end < 0:
                told += self._held[:at].rstrip()
                self._held = self._held[at:]
                return told, calls
            body = self._held[at + len(_BEGIN) : end]
            found = self._calls([_document(body)])
            stop = end + len(_END)
            told += self._held[:at].rstrip() if found is not None else self._held[:stop]
            calls += found or []
            self._held = self._held[stop:]
        sure = len(self._held) - _begun(self._held)
        sure = len(self._held[:sure].rstrip())
        told, self._held = told + self._held[:sure], self._held[sure:]
        return told, calls

    def _calls(self, documents: Sequence[object]) -> list[Call] | None:
        """None: they are no calls of these tools."""
        found: list[Call] = []
        for document in documents:
            match document:
                case {"name": str(name), self._form.value: dict(given)} if name in self._names:
                    arguments = json.dumps(given, ensure_ascii=False)
                    found.append(Call(self.count + len(found), name, arguments))
                case _:
                    return None
        if not self._several:
            found = found[: max(0, 1 - self.count)]
        self.count += len(found)
        return found

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held.rstrip() if self.count else held


def _document(text: str) -> object:
    """What the JSON says; None: it is none."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def _several(text: str) -> list[object]:
    """The documents of a text that is JSON, or JSON with semicolons between."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return [None]
        found.append(document)
        rest = rest[end:].lstrip().removeprefix(";").lstrip()
    return found or [None]


def _begun(text: str) -> int:
    """How many characters at the end of the text may be the beginning of a call."""
    longest = min(len(text), len(_BEGIN) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(_BEGIN[:n])), 0)


STOPS: Final = {ToolForm.HERMES: (_END,), ToolForm.LLAMA: ()}
"""Texts that end an answer which may call one tool only, after its first call."""
