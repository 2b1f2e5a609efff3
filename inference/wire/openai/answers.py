"""Answers as OpenAI writes them: whole, and as the events of a stream."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.core.generation.wording.answer import Piece, Told
from inference.core.generation.wording.vocabulary import Vocabulary
from inference.documents import JsonObject, JsonView
from inference.wire.openai.tools import call_document

_LEAST_LOGPROB: Final = (
    -9999.0
)  # what OpenAI writes for a token that cannot be: JSON has no infinity


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens; those of one prompt count once, however many answers it got."""

    prompt: int
    answer: int
    cached: int

    def document(self) -> JsonObject:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclasses.dataclass(frozen=True)
class Choice:
    """One whole answer."""

    piece: Piece
    finish: str


@dataclasses.dataclass(frozen=True)
class Form:
    """What all answers to one request share.

    Attributes:
        chat: an answer to a chat, else a completion.
        id: made of the first session's.
        created: seconds since 1970.
        fingerprint: of the model's bytes: while it is the same, so is a seeded text.
        tells_tokens: each token is told with its log probability.
    """

    chat: bool
    id: str
    created: int
    model: str
    fingerprint: str
    vocabulary: Vocabulary
    tells_tokens: bool
    tells_usage: bool = False

    def whole(self, choices: Sequence[Choice], usage: Usage) -> JsonObject:
        """The answer to a request that does not stream."""
        return self._document(
            [self._choice(index, choice) for index, choice in enumerate(choices)],
            stream=False,
            usage=usage.document(),
        )

    def begins(self, index: int, text: str = "") -> JsonObject | None:
        """The first event of an answer; None: there is none of that form. `text`: what stands before it."""
        if self.chat:
            return self._event(index, {"role": "assistant", "content": ""}, None, None)
        return self._event(index, text, None, None) if text else None

    def goes_on(self, index: int, piece: Piece) -> JsonObject | None:
        """An event with the next piece of an answer; None: it holds nothing to tell."""
        if not piece.text and not piece.calls and not (piece.tokens and self.tells_tokens):
            return None
        part: JsonView | str = piece.text
        if self.chat:
            part = {"content": piece.text} if piece.text or not piece.calls else {}
        if piece.calls and isinstance(part, dict):
            calls = [{"index": call.index, **call_document(call)} for call in piece.calls]
            part = {**part, "tool_calls": calls}
        return self._event(index, part, self._logprobs(piece.tokens), None)

    def ends(self, index: int, finish: str) -> JsonObject:
        """The last event of an answer."""
        return self._event(index, {} if self.chat else "", None, finish)

    def counts(self, usage: Usage) -> JsonObject:
        """The last event of a stream that was asked for its usage."""
        return self._document([], stream=True, usage=usage.document())

    def _document(self, choices: list[object], *, stream: bool, **more: object) -> JsonObject:
        kind = "text_completion"
        if self.chat:
            kind = "chat.completion.chunk" if stream else "chat.completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            **more,
        }

    def _event(
        self, index: int, part: JsonView | str, logprobs: object, finish: str | None
    ) -> JsonObject:
        choice = {
            "index": index,
            ("delta" if self.chat else "text"): part,
            "logprobs": logprobs,
            "finish_reason": finish,
        }
        more = {"usage": None} if self.tells_usage else {}
        return self._document([choice], stream=True, **more)

    def _choice(self, index: int, choice: Choice) -> JsonObject:
        text, calls = choice.piece.text, choice.piece.calls
        message: JsonObject = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message["content"] = text or None
            message["tool_calls"] = [call_document(call) for call in calls]
        return {
            "index": index,
            **({"message": message} if self.chat else {"text": text}),
            "logprobs": self._logprobs(choice.piece.tokens),
            "finish_reason": choice.finish,
        }

    def _logprobs(self, tokens: Sequence[Told]) -> JsonObject | None:
        if not self.tells_tokens:
            return None
        if self.chat:
            return {"content": [self._token(told) for told in tokens], "refusal": None}
        return {
            "tokens": [self._name(told.pick.token) for told in tokens],
            "token_logprobs": [_sayable(told.pick.logprob) for told in tokens],
            "top_logprobs": [
                {self._name(token): _sayable(value) for token, value in told.pick.top}
                for told in tokens
            ],
            "text_offset": [told.offset for told in tokens],
        }

    def _token(self, told: Told) -> JsonObject:
        own = self._likely(told.pick.token, told.pick.logprob)
        return {**own, "top_logprobs": [self._likely(*item) for item in told.pick.top]}

    def _likely(self, token: int, logprob: float) -> JsonObject:
        raw = self.vocabulary.bytes_of(token)
        return {"token": self._name(token), "logprob": _sayable(logprob), "bytes": list(raw)}

    def _name(self, token: int) -> str:
        return self.vocabulary.bytes_of(token).decode(errors="backslashreplace")


def _sayable(logprob: float) -> float:
    return max(logprob, _LEAST_LOGPROB)


def embeddings(
    model: str, vectors: NDArray[np.float32], tokens: int, *, packed: bool
) -> JsonObject:
    """The answer to a request for embeddings: `vectors` float32[texts, dimensions]."""
    little = vectors.astype("<f4")
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(row.tobytes()).decode() if packed else row.tolist(),
            }
            for index, row in enumerate(little)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def model_document(name: str, created: int) -> JsonObject:
    return {"id": name, "object": "model", "created": created, "owned_by": "webpool"}
