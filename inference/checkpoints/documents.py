"""JSON files that lie beside a language model's weights, read as strangers' files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from inference.checkpoints.described import Described
from inference.checkpoints.suppressed import suppressed
from inference.documents import JsonObject, JsonView

_MOST_BYTES: Final = 64 * 2**20
_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_json(path: Path) -> JsonObject:
    """A file's object; {} where there is no such file.

    Raises:
        ValueError: it is no JSON object, or a huge one.
    """
    if not path.is_file():
        return {}
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"{path.name}: expected at most {_MOST_BYTES} bytes, got {size}")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name}: expected an object, got {type(found).__name__}")
    return found


def described(
    folder: Path, *, architecture: str, context: int, notes: Iterable[str] = ()
) -> Described:
    """What the files of a Hugging Face folder tell of texts: ends, special tokens, the chat template, and
    tokens that are never written.

    Raises:
        ValueError: one of them cannot be read.
    """
    config = read_json(folder / "config.json")
    generation = read_json(folder / "generation_config.json")
    words = read_json(folder / "tokenizer_config.json")
    special = {name: text for name in _SPECIAL if (text := _text(words.get(name)))}
    if not special:
        more = read_json(folder / "special_tokens_map.json")
        special = {name: text for name in _SPECIAL if (text := _text(more.get(name)))}
    ends = [
        *_numbers(generation.get("eos_token_id")),
        *_numbers(config.get("eos_token_id")),
        *_token(folder, special.get("eos_token", "")),
    ]
    never = suppressed({**config, **generation}, "suppress_tokens", "begin_suppress_tokens")
    return Described(
        architecture=architecture,
        context=context,
        stop_tokens=tuple(dict.fromkeys(ends)),
        chat_template=_template(folder, words),
        special=special,
        suppress_tokens=never.tokens,
        begin_suppress_tokens=never.first,
        notes=(*notes, *never.notes),
    )


def _text(value: object) -> str:
    """A token as tokenizer_config.json has it: a text, or an object with its content."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _numbers(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _token(folder: Path, text: str) -> list[int]:
    """The number of an added token in tokenizer.json."""
    added = read_json(folder / "tokenizer.json").get("added_tokens") if text else None
    found = added if isinstance(added, list) else []
    return [
        number
        for one in found
        if isinstance(one, dict) and one.get("content") == text
        for number in _numbers(one.get("id"))
    ]


def _template(folder: Path, words: JsonView) -> str:
    """Of several templates the one named default."""
    file = folder / "chat_template.jinja"
    if file.is_file() and file.stat().st_size <= _MOST_BYTES:
        return file.read_text(encoding="utf-8")
    found = words.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default", next(iter(named.values()), ""))
    return found if isinstance(found, str) else ""
