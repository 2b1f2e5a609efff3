"""What a model that writes makes of text: its tokenizer, its vocabulary, its chat template, in the sandbox.

A tokenizer takes up to a second to be read, so that a process keeps those that it used last, each in a child
of its own.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.conf import settings

from inference import sandbox
from inference.core.generation.stages import Decoder
from inference.core.generation.wording.grammar import MOST_CHARACTERS, any_left
from inference.core.generation.wording.vocabulary import Vocabulary
from inference.documents import JsonView
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.sandbox import Answer, Limits, Places, Session, limits_for
from inference.store.files import path_of

_KEPT: Final = 4
_TEMPLATE_MB: Final = 256
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")


class _Job:
    """A job that is asked again and again, by any thread; its child is started when it is needed."""

    def __init__(
        self, name: str, reads: Sequence[Path] = (), limits: Limits | None = None, **given: Any
    ) -> None:
        self._name, self._reads, self._limits, self._given = name, reads, limits, given
        self._place = Places("a text read", 1, most_waiting=None)
        self._session: Session | None = None

    def ask(self, **given: Any) -> Answer:
        """Raises Refused, as the sandbox does; the child ends with that."""
        with self._place.taken():
            try:
                if self._session is not None and self._session.ended():
                    self._close()
                if self._session is None:
                    self._session = sandbox.opened(
                        self._name, reads=self._reads, limits=self._limits, **self._given
                    )
                answer = self._session.ask(**given)
            except BaseException:
                self._close()
                raise
            if self._session.grown:
                self._close()
            return answer

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None


class Texts:
    """A tokenizer.json, for texts of any length."""

    def __init__(self, path: Path) -> None:
        self._job = _Job("texts", [path], path=str(path.absolute()))

    def encode(self, text: str, *, special: bool) -> list[int]:
        """The tokens of a text; `special`: with those that the tokenizer puts around it.

        Raises:
            InvalidRequest: it takes more time or memory than is allowed.
        """
        return self.encode_all([text], special=special)[0]

    def encode_all(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """As `encode`, of each."""
        try:
            arrays = self._job.ask(texts=list(texts), special=special).arrays
        except sandbox.Refused as error:
            raise InvalidRequest(f"the text could not become tokens: {error}") from error
        ids: list[int] = arrays["ids"].tolist()
        ends: list[int] = arrays["ends"].tolist()
        return [ids[at:end] for at, end in itertools.pairwise([0, *ends])]

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """What each token is in bytes.

        Raises:
            InvalidRequest: the tokenizer puts texts together in a way that is not known here.
        """
        try:
            arrays = self._job.ask().arrays
        except sandbox.Refused as error:
            raise InvalidRequest(f"the model's tokens could not become text: {error}") from error
        return Vocabulary(arrays["data"].tobytes(), arrays["ends"], arrays["special"])


class Chat:
    """A chat template."""

    def __init__(self, template: str, special: Mapping[str, str]) -> None:
        limits = limits_for(seconds=settings.WEBPOOL_TEMPLATE_SECONDS)
        self._limits = Limits(_TEMPLATE_MB, limits.seconds)
        self._job = _Job("chat", limits=self._limits, template=template, special=dict(special))
        self._template = template

    def render(self, messages: Sequence[JsonView], more: JsonView) -> str:
        """The chat as text, up to where the answer begins.

        Raises:
            InvalidRequest: the template refuses it, or loops, or grows; or a role is none that it could know.
        """
        self._check_roles(messages)
        try:
            found: str = self._job.ask(messages=list(messages), more=dict(more)).document
        except sandbox.Ended as error:
            raise InvalidRequest(
                "the model's chat template was stopped: expected an answer within "
                f"{self._limits.seconds:g} s (WEBPOOL_TEMPLATE_SECONDS) and {self._limits.memory_mb} MB; "
                "one that loops or grows without end gives none"
            ) from error
        except sandbox.Refused as error:
            raise InvalidRequest(
                f"the model's chat template refuses these messages: {error}"
            ) from error
        return found

    def _check_roles(self, messages: Sequence[JsonView]) -> None:
        """Many a template leaves out without a word what is said in a role that it does not know."""
        for index, message in enumerate(messages):
            role = str(message.get("role"))
            named = any(f"{quote}{role}{quote}" in self._template for quote in "'\"")
            if role not in _ROLES and not named:
                raise InvalidRequest(
                    f"messages[{index}].role: expected {', '.join(_ROLES)}, or one that the model's chat "
                    f"template names, got {role!r:.60}"
                )


def texts_of(model: OnnxModel) -> Texts:
    """The texts of a model.

    Raises:
        InvalidRequest: it was registered without a tokenizer.
    """
    if not model.tokenizer:
        raise InvalidRequest(
            f"model {model.name} has no tokenizer, so that it takes and writes no text"
        )
    return _texts(model.tokenizer)


@functools.lru_cache(_KEPT)
def _texts(sha256: str) -> Texts:
    return Texts(path_of(sha256))


def check_grammar(model: OnnxModel, decoder: Decoder, grammar: str) -> None:
    """Refuse a form that the texts of a model cannot be held to.

    Raises:
        InvalidRequest: why not; it is too long; it begins with nothing that the model begins with; or the
            model has no tokenizer.
    """
    if len(grammar) > MOST_CHARACTERS:  # a session's row keeps it
        raise InvalidRequest(
            f"expected schemas of at most {MOST_CHARACTERS} characters together, got {len(grammar)}"
        )
    if not model.tokenizer:
        raise InvalidRequest(f"model {model.name} has no tokenizer, so that its texts have no form")
    job = _grammars(model.tokenizer, decoder.vocabulary, decoder.stop_tokens)
    try:
        allowed = job.ask(grammar=grammar).arrays["allowed"]
    except sandbox.Refused as error:
        raise InvalidRequest(
            f"texts of model {model.name} cannot have this form: {error}"
        ) from error
    never = np.array([*decoder.suppress_tokens, *decoder.begin_suppress_tokens], np.int64)
    if not any_left(allowed, never):
        raise InvalidRequest(
            f"texts of model {model.name} cannot have this form: it begins with tokens alone that the model "
            "never begins with (its suppress_tokens and begin_suppress_tokens)"
        )


@functools.lru_cache(_KEPT)
def _grammars(sha256: str, vocabulary: int, stop_tokens: tuple[int, ...]) -> _Job:
    path = path_of(sha256)
    return _Job(
        "grammars", [path], path=str(path), vocabulary=vocabulary, stop_tokens=list(stop_tokens)
    )


def chat_of(template: str, special: Mapping[str, str]) -> Chat:
    """A template, kept by this process."""
    return _chat(template, tuple(sorted(special.items())))


@functools.lru_cache(_KEPT)
def _chat(template: str, special: tuple[tuple[str, str], ...]) -> Chat:
    return Chat(template, dict(special))
