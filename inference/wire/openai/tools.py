"""The tools of a chat request: read, and what an answer calls of them written."""

from __future__ import annotations

import dataclasses
import re
import secrets
from typing import Final

from inference.core.generation.wording.tools import Call, Tool
from inference.documents import JsonObject, JsonView
from inference.wire.openai.refusals import Refused

_MOST: Final = 128
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_ARGUMENTS: Final[JsonView] = {"type": "object", "properties": {}}


@dataclasses.dataclass(frozen=True)
class Tools:
    """What an answer may call.

    Attributes:
        documents: as the caller wrote them: the model's chat template is told them so.
        callable: those that this answer may call.
        forced: it must call one; else it may.
        several: it may call more than one.
    """

    documents: tuple[JsonView, ...] = ()
    callable: tuple[Tool, ...] = ()
    forced: bool = False
    several: bool = True


def read_tools(given: object, choice: object, *, several: bool) -> Tools:
    """`tools` and `tool_choice` of a request; without callable ones where it chose none.

    Raises:
        Refused: says which.
    """
    if given in (None, []):
        if choice not in (None, "none", "auto"):
            raise Refused(
                f"tool_choice: expected tools beside it, got {choice!r:.60} alone",
                param="tool_choice",
            )
        return Tools()
    if not isinstance(given, list) or len(given) > _MOST:
        raise Refused(
            f"tools: expected a list of at most {_MOST} functions, got {given!r:.60}", param="tools"
        )
    tools = tuple(_tool(f"tools[{index}]", item) for index, item in enumerate(given))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise Refused("tools: expected each name once", param="tools")
    match choice:
        case None | "auto":
            return Tools(tuple(given), tools, several=several)
        case "none":
            return Tools()
        case "required":
            return Tools(tuple(given), tools, forced=True, several=several)
        case {"type": "function", "function": {"name": str(name)}} if name in names:
            chosen = tuple(tool for tool in tools if tool.name == name)
            return Tools(tuple(given), chosen, forced=True, several=several)
    raise Refused(
        'tool_choice: expected "none", "auto", "required", or {"type": "function", "function": {"name": …}} '
        f"with the name of a tool, got {choice!r:.100}",
        param="tool_choice",
    )


def _tool(where: str, given: object) -> Tool:
    function = given.get("function") if isinstance(given, dict) else None
    match given:
        case {"type": "function", "function": {"name": str(name)}} if _NAME.fullmatch(name):
            assert function is not None
        case _:
            raise Refused(
                f'{where}: expected {{"type": "function", "function": {{"name": …, "parameters": {{…}}}}}} '
                f"with a name of 1 to 64 letters, digits, - and _, got {given!r:.100}",
                param="tools",
            )
    if unknown := sorted(function.keys() - {"name", "description", "parameters", "strict"}):
        raise Refused(f"{where}: unknown field {unknown[0]!r:.60}", param="tools")
    parameters, strict = function.get("parameters"), function.get("strict")
    described = function.get("description") or ""
    if (
        not isinstance(parameters, dict | None)
        or not isinstance(strict, bool | None)
        or not isinstance(described, str)
    ):
        raise Refused(
            f"{where}: expected a text as description, a JSON Schema as parameters, true or false as strict",
            param="tools",
        )
    return Tool(name, parameters or _NO_ARGUMENTS, bool(strict))


def call_document(call: Call) -> JsonObject:
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
