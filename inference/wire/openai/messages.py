"""The messages of a chat, as a chat template takes them."""

from __future__ import annotations

from typing import Any, Final

from inference.documents import JsonObject, JsonView
from inference.wire.openai.refusals import Refused

_MOST: Final = 4096
# Which roles there are, and in which order, the model's template says.
_TAKEN: Final = ("role", "content")
_UNSERVED: Final = {
    "name": "who speaks is told by the role alone",
    "tool_calls": "tools are not served yet",
    "tool_call_id": "tools are not served yet",
    "function_call": "tools are not served yet",
    "audio": "messages are text",
    "refusal": "a refusal is content here",
    "annotations": "messages are text",
}


def read_messages(given: Any) -> tuple[JsonView, ...]:
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


def _message(where: str, given: Any) -> JsonObject:
    if not isinstance(given, dict):
        raise Refused(f"{where}: expected an object, got {given!r:.60}", param=where)
    for name in sorted(given.keys() - set(_TAKEN)):
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
    role = given.get("role")
    if not isinstance(role, str) or not role:
        raise Refused(f"{where}.role: expected a text, got {role!r:.60}", param=f"{where}.role")
    return {"role": role, "content": _content(f"{where}.content", given.get("content"))}


def _content(where: str, given: Any) -> str:
    """The text; of several parts, one a line."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise Refused(
            f"{where}: expected a text or a list of text parts, got {given!r:.60}", param=where
        )
    return "\n".join(_part(f"{where}[{index}]", item) for index, item in enumerate(given))


def _part(where: str, given: Any) -> str:
    match given:
        case {"type": "text", "text": str(text)} if len(given) == 2:
            return text
    raise Refused(
        f'{where}: expected {{"type": "text", "text": "…"}}: messages are text; got {given!r:.60}',
        param=where,
        code="unsupported_content",
    )
