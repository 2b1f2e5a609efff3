"""The messages of a chat, as a chat template takes them."""

from __future__ import annotations

import contextlib
import json
from typing import Final

from inference.documents import JsonObject, JsonView
from inference.wire.openai.refusals import Refused

_MOST: Final = 4096
# Which roles there are, and in which order, the model's template says.
_TAKEN: Final = ("role", "content")
_UNSERVED: Final = {
    "name": "who speaks is told by the role alone",
    "tool_calls": "an assistant's messages call tools",
    "tool_call_id": "messages of the role tool answer calls",
    "function_call": "it has given way to tool_calls",
    "audio": "messages are text",
    "refusal": "a refusal is content here",
    "annotations": "messages are text",
}


def read_messages(given: object) -> tuple[JsonView, ...]:
    """Each as its role and its text.

    Raises:
        Refused: it is no list of messages; says where.
    """
    if not isinstance(given, list) or not 0 < len(given) <= _MOST:
        raise Refused(
            f"messages: expected a list of 1 to {_MOST} messages, got {given!r:.60}",
            param="messages",
        )
    return tuple(_message(f"messages[{index}]", item) for index, item in enumerate(given))


def _message(where: str, given: object) -> JsonObject:
    if not isinstance(given, dict):
        raise Refused(f"{where}: expected an object, got {given!r:.60}", param=where)
    role = given.get("role")
    more: JsonObject = {}
    taken = set(_TAKEN)
    if role == "assistant" and given.get("tool_calls"):
        more["tool_calls"] = _calls(f"{where}.tool_calls", given["tool_calls"])
        taken.add("tool_calls")
    if role == "tool":
        more |= _answered(where, given)
        taken |= {"tool_call_id", "name"}
    for name in sorted(given.keys() - taken):
        if name not in _UNSERVED:
            raise Refused(
                f"{where}: unknown field {name!r:.100}; expected {' and '.join(_TAKEN)}",
                param=f"{where}.{name}"[:200],
                code="unknown_parameter",
            )
        if given[name] not in (None, []):
            raise Refused(
                f"{where}.{name}: expected null ({_UNSERVED[name]}), got {given[name]!r:.60}",
                param=f"{where}.{name}",
                code="unsupported_parameter",
            )
    if not isinstance(role, str) or not role:
        raise Refused(f"{where}.role: expected a text, got {role!r:.60}", param=f"{where}.role")
    content = given.get("content")
    if content is None and "tool_calls" in more:
        content = ""
    return {"role": role, "content": _content(f"{where}.content", content), **more}


def _calls(where: str, given: object) -> list[JsonObject]:
    """Calls as chat templates take them: with arguments that are an object, not its JSON."""
    if not isinstance(given, list):
        raise Refused(f"{where}: expected a list of calls, got {given!r:.60}", param=where)
    return [_call(f"{where}[{index}]", item) for index, item in enumerate(given)]


def _call(where: str, given: object) -> JsonObject:
    match given:
        case {
            "id": str(number),
            "type": "function",
            "function": {"name": str(name), "arguments": str(arguments)},
        }:
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(arguments)
                if isinstance(found, dict):
                    function = {"name": name, "arguments": found}
                    return {"id": number, "type": "function", "function": function}
    raise Refused(
        f'{where}: expected {{"id": …, "type": "function", "function": {{"name": …, "arguments": …}}}} with '
        f"arguments that are a JSON object as text, got {given!r:.100}",
        param=where,
    )


def _answered(where: str, given: JsonView) -> JsonObject:
    """Which call a message of the role tool answers; `name` is the function's, where it is said."""
    found = {name: given.get(name) for name in ("tool_call_id", "name")}
    for name, value in found.items():
        if not isinstance(value, str) and not (name == "name" and value is None):
            raise Refused(
                f"{where}.{name}: expected a text, got {value!r:.60}", param=f"{where}.{name}"
            )
    return {name: value for name, value in found.items() if value is not None}


def _content(where: str, given: object) -> str:
    """The text; of several parts, one a line."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise Refused(
            f"{where}: expected a text or a list of text parts, got {given!r:.60}", param=where
        )
    return "\n".join(_part(f"{where}[{index}]", item) for index, item in enumerate(given))


def _part(where: str, given: object) -> str:
    match given:
        case {"type": "text", "text": str(text), **more} if not more:
            return text
    raise Refused(
        f'{where}: expected {{"type": "text", "text": "…"}}: messages are text; got {given!r:.60}',
        param=where,
        code="unsupported_content",
    )
