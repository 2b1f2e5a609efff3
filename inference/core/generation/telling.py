"""What is told of a session, as documents that a log keeps.

An entry stands under a number and a second one: token `index` under (index + 1, 0), everything else under
(tokens written before it, 1, 2, …). So a listener who has heard of so many tokens asks for what is beyond
(that many, 0), and hears no token twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from inference.core.generation.asked import (
    Asked,
    Ended,
    Ending,
    Event,
    Paused,
    Resumed,
    TokenWritten,
)
from inference.core.generation.sampled import Pick, Sampling
from inference.documents import JsonObject

_to_json = json.JSONEncoder(separators=(",", ":")).encode


def pick_to_json(pick: Pick) -> str:
    return _to_json(["token", pick.token, pick.logprob, pick.top])


def token_of(document: bytes | str) -> int:
    """The token that such a document tells of."""
    return int(json.loads(document)[1])


def joined(documents: Sequence[str]) -> str:
    """Several of them as one text."""
    return "\n".join(documents)


def tokens_of(text: bytes | str) -> list[int]:
    """The tokens that documents tell of that are joined."""
    return [token_of(document) for document in text.splitlines()]


def to_json(event: Paused | Resumed | Ended) -> str:
    """A token is told by its pick; how many tokens were written follows from where the entry stands."""
    return _to_json([type(event).__name__.lower(), asdict(event)])


def from_json(raw: bytes | str, tokens: int) -> Event:
    """The event of an entry whose number is `tokens`."""
    kind, *rest = json.loads(raw)
    if kind == "token":
        token, logprob, top = rest
        return TokenWritten(tokens - 1, Pick(token, logprob, tuple((i, p) for i, p in top)))
    fields: JsonObject = rest[0]
    if kind == "paused":
        return Paused(**fields)
    if kind == "resumed":
        return Resumed(**fields)
    return Ended(**{**fields, "ending": Ending(fields["ending"]), "tokens": tokens})


def asked_to_json(asked: Asked) -> JsonObject:
    document = asdict(asked)
    bias = {str(token): value for token, value in asked.sampling.logit_bias.items()}
    document["sampling"]["logit_bias"] = bias
    return document


def asked_from_json(document: JsonObject) -> Asked:
    sampling = dict(document["sampling"])
    sampling["logit_bias"] = {int(token): value for token, value in sampling["logit_bias"].items()}
    lists = ("prompt", "stop", "stop_tokens", "browsers")
    tuples = {name: tuple(document[name]) for name in lists}
    return Asked(**{**document, **tuples, "sampling": Sampling(**sampling)})
