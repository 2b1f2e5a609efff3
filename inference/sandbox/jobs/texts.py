"""Text to tokens and back for models that write, and their chat templates: a stranger's, all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from inference.core.generation.wording.chat import Template
from inference.core.generation.wording.vocabulary import Vocabulary, read_vocabulary
from inference.documents import JsonObject
from inference.sandbox.frames import Answer

_SAMPLES = (
    "Hello, world!\n\n\tIt's  3.14",
    "naïve façade €5 — Straße",
    "日本語 한국어 🙂👩‍🔬",
    "\x00\x7f\u00a0",
)


class Texts:
    """One tokenizer, read without the limit of length and the padding that it may name."""

    def __init__(self, path: str) -> None:
        """Raises ValueError: it cannot be read."""
        try:
            self._tokenizer = Tokenizer.from_file(path)
        except Exception as error:  # tokenizers raises a bare Exception
            raise ValueError(str(error)) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._path = path

    def __call__(self, texts: Sequence[str] | None = None, special: bool = False) -> Answer:
        """Texts as `ids` int64[all] and `ends` int64[texts]; None: the vocabulary, as `Vocabulary` has it.

        `special`: with the tokens that the tokenizer puts around a text.

        Raises:
            ValueError: the vocabulary's text would not be the tokenizer's own.
        """
        if texts is None:
            return self._vocabulary()
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=special)
        ids = [np.array(item.ids, np.int64) for item in found]
        ends = np.cumsum([len(item) for item in ids], dtype=np.int64)
        return Answer(None, {"ids": np.concatenate([*ids, np.zeros(0, np.int64)]), "ends": ends})

    def _vocabulary(self) -> Answer:
        try:
            found = read_vocabulary(json.loads(Path(self._path).read_text(encoding="utf-8")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it has no vocabulary: {type(error).__name__}: {error}") from error
        self._check(found)
        data = np.frombuffer(found.data, np.uint8)
        return Answer(None, {"data": data, "ends": found.ends, "special": found.special})

    def _check(self, found: Vocabulary) -> None:
        """Hold the vocabulary against the tokenizer's own decoder."""
        for item in self._tokenizer.encode_batch(list(_SAMPLES), add_special_tokens=False):
            ours = b"".join(map(found.bytes_of, item.ids)).decode(errors="replace")
            theirs = self._tokenizer.decode(item.ids, skip_special_tokens=False)
            if ours.removeprefix(" ") != theirs.removeprefix(" "):
                raise ValueError(
                    f"its decoder makes {theirs!r:.60} of tokens whose bytes are {ours!r:.60}"
                )


class Chat:
    """One chat template."""

    def __init__(self, template: str, special: Mapping[str, str]) -> None:
        """Raises RefusedChat: it is none."""
        self._template = Template(template, special)

    def __call__(self, messages: list[JsonObject], more: JsonObject) -> Answer:
        """The chat as text.

        Raises:
            RefusedChat: the template's own words against it.
        """
        return Answer(self._template.render(messages, more))
