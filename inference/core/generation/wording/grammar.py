"""What a text may be, where its caller asked for a form: which tokens may come next.

A grammar is a text in the language of llguidance: JSON that holds a JSON Schema, or rules in Lark's notation.
"""

from __future__ import annotations

import json
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.documents import JsonObject, JsonView

MOST_CHARACTERS: Final = 2**16
# Between JSON's tokens. Without a bound a model may write spaces until its context is full.
_WHITESPACE: Final = r"[\x20\x0A\x0D\x09]{0,12}"


class Unfollowable(ValueError):
    """A text cannot go on in its form, whoever computes it."""


class Guide(Protocol):
    """The form of one text, as far as it is written."""

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """bool[vocabulary]: which tokens may come next; at least one."""

    def take(self, token: int) -> bool:
        """The next token, one that is allowed; whether the text is complete with it.

        Raises:
            Unfollowable: the form cannot be followed further.
            ValueError: it was not, here.
        """


def any_left(allowed: NDArray[np.bool_], never: NDArray[np.int64]) -> bool:
    """Whether a form allows a token that is none of those that the model never writes."""
    left = allowed.copy()
    left[never[never < len(left)]] = False
    return bool(left.any())


def guided(schema: JsonView) -> JsonObject:
    """A JSON Schema, as grammars hold it."""
    return {**schema, "x-guidance": {"whitespace_pattern": _WHITESPACE}}


def json_grammar(schema: JsonView) -> str:
    """The grammar of a JSON document by its JSON Schema."""
    return json.dumps({"grammars": [{"json_schema": guided(schema)}]})
