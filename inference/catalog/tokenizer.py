"""Text to tensors, with the tokenizer a model was registered with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from inference.conversion.strings import text_of
from inference.errors import InvalidRequest
from inference.graph.files import store

_MOST_TOKENS = 512  # where the tokenizer itself names no limit
_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_PAD_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")


class Tokenizer:
    """A tokenizer.json, producing the inputs that a model has.

    Raises:
        InvalidRequest: the model has no input that text can become.
    """

    def __init__(self, path: Path, inputs: Sequence[str]) -> None:
        self._tokenizer = RustTokenizer.from_file(str(path))
        self._inputs = [name for name in inputs if name in _FIELDS]
        if "input_ids" not in self._inputs:
            raise InvalidRequest(
                f"the model takes {', '.join(inputs)}, no input_ids: it takes no text; send tensors"
            )
        limit = (self._tokenizer.truncation or {}).get("max_length", _MOST_TOKENS)
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding(**_padding(self._tokenizer))

    @staticmethod
    def store(path: Path, folder: Path) -> str:
        """Keep a tokenizer.json as an immutable file; returns its SHA-256.

        Raises:
            ValueError: it is not one.
        """
        try:
            raw = path.read_bytes()
            RustTokenizer.from_str(raw.decode())
        except Exception as error:  # tokenizers raises a bare Exception
            raise ValueError(f"{path.name} is not a tokenizer.json: {error}") from error
        return store(raw, folder)[0]

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Texts as int64 arrays of [texts, longest], padded; longer texts are cut at the model's limit.

        Raises:
            InvalidRequest: no text, or something that is no text, such as a lone surrogate.
        """
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest(f"expected a list of at least one text, got {texts!r:.80}")
        for index, text in enumerate(texts):
            _check_utf8(index, text)
        encoded = self._tokenizer.encode_batch(list(texts))
        return {
            name: np.array([getattr(item, _FIELDS[name]) for item in encoded], dtype=np.int64)
            for name in self._inputs
        }


def _check_utf8(index: int, text: str) -> None:
    try:
        text_of(text)
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"text {index}: expected text that has a form in UTF-8, got {text[error.start]!r} as its "
            f"character {error.start} ({error.reason})"
        ) from None


def _padding(tokenizer: RustTokenizer) -> dict[str, Any]:
    """The tokenizer's own padding token, to the longest text rather than to a fixed length."""
    own = tokenizer.padding
    if own:
        return {key: own[key] for key in ("direction", "pad_id", "pad_type_id", "pad_token")}
    for token in _PAD_TOKENS:
        number = tokenizer.token_to_id(token)
        if number is not None:
            return {"pad_id": number, "pad_token": token}
    return {}
