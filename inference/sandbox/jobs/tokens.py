"""Text to tokens, with a stranger's tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from inference.documents import JsonObject
from inference.sandbox.frames import Answer

_MOST_TOKENS = 512  # where the tokenizer itself names no limit
_PAD_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")


def check(path: str) -> Answer:
    """Refuse a file that is no tokenizer.

    Raises:
        ValueError: its reason.
    """
    try:
        Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises a bare Exception
        raise ValueError(str(error)) from error
    return Answer(None)


class Tokens:
    """One tokenizer; asked with texts, answers arrays."""

    def __init__(self, path: str, fields: dict[str, str]) -> None:
        """`fields`: name of an array → which attribute of a tokenizer's encoding it is."""
        self._fields = fields
        self._tokenizer = Tokenizer.from_file(path)
        limit = (self._tokenizer.truncation or {}).get("max_length", _MOST_TOKENS)
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding(**_padding(self._tokenizer))

    def __call__(self, texts: Sequence[str]) -> Answer:
        """Texts as int64 arrays of [texts, longest]."""
        encoded = self._tokenizer.encode_batch(list(texts))
        return Answer(
            None,
            {
                name: np.array([getattr(item, field) for item in encoded], dtype=np.int64)
                for name, field in self._fields.items()
            },
        )


def _padding(tokenizer: Tokenizer) -> JsonObject:
    """The tokenizer's own padding token, to the longest text rather than to a fixed length."""
    own = tokenizer.padding
    if own:
        return {key: own[key] for key in ("direction", "pad_id", "pad_type_id", "pad_token")}
    for token in _PAD_TOKENS:
        number = tokenizer.token_to_id(token)
        if number is not None:
            return {"pad_id": number, "pad_token": token}
    return {}
