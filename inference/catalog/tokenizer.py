"""Text to tensors, with the tokenizer a model was registered with; it runs in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inference import sandbox
from inference.conversion.strings import text_of
from inference.documents import Array
from inference.errors import InvalidRequest
from inference.graph.files import store

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class Tokenizer:
    """A tokenizer.json, producing the inputs that a model has.

    It is read with the first texts, by a process that ends with this object.

    Raises:
        InvalidRequest: the model has no input that text can become.
    """

    def __init__(self, path: Path, inputs: Sequence[str]) -> None:
        self._path = path
        self._fields = {name: _FIELDS[name] for name in inputs if name in _FIELDS}
        self._session: sandbox.Session | None = None
        if "input_ids" not in self._fields:
            raise InvalidRequest(
                f"the model takes {', '.join(inputs)}, no input_ids: it takes no text; send tensors"
            )

    @staticmethod
    def store(path: Path, folder: Path) -> str:
        """Keep a tokenizer.json as an immutable file; returns its SHA-256.

        Raises:
            ValueError: it is not one.
        """
        try:
            raw = path.read_bytes()
            sandbox.ask("check_tokenizer", reads=[path], path=str(path.absolute()))
        except (OSError, sandbox.Refused) as error:
            raise ValueError(f"{path.name or path} is not a tokenizer.json: {error}") from error
        return store(raw, folder)[0]

    def encode(self, texts: Sequence[str]) -> dict[str, Array]:
        """Texts as int64 arrays of [texts, longest], padded; longer texts are cut at the model's limit.

        Raises:
            InvalidRequest: no text, something that is no text, such as a lone surrogate, or text of which
                the tokenizer makes more than can be held.
        """
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest(f"expected a list of at least one text, got {texts!r:.80}")
        for index, text in enumerate(texts):
            _check_utf8(index, text)
        try:
            if self._session is None:
                self._session = sandbox.opened(
                    "tokens",
                    reads=[self._path],
                    path=str(self._path.absolute()),
                    fields=self._fields,
                )
            return self._session.ask(texts=list(texts)).arrays
        except sandbox.Refused as error:
            self._session = None
            raise InvalidRequest(f"the texts could not become tokens: {error}") from error


def _check_utf8(index: int, text: str) -> None:
    try:
        text_of(text)
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"text {index}: expected text that has a form in UTF-8, got {text[error.start]!r} as its "
            f"character {error.start} ({error.reason})"
        ) from None
