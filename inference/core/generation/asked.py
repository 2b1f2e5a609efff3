"""What a caller asks of a generation, and what it hears of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from inference.core.generation.sampled import Pick, Sampling

MOST_STANDBYS: Final = 3


@dataclass(frozen=True)
class Asked:
    """A generation as every door asks for it; texts are tokens already.

    `stop`: texts that end it and are not part of the answer; `stop_tokens`: ids that do (the model's own are
    added unless `ignore_end`). `grammar`: the form of the text (`core.generation.grammar`); "": any.
    `shards`: 0, the pool decides. `browsers`: only these; empty: any.
    `memory_bytes`: of what an encoder made for it, which its stages hold.
    `backend`: "" is wasm, whose numbers are the same in every browser.
    `speculation`: steps may compute tokens that are likely to come, and tell them where they do; the text is
    the same.
    `standbys`: in how many more browsers each stage is computed, so that one of them can go on at once.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_end: bool = False
    grammar: str = ""
    memory_bytes: int = 0
    shards: int = 0
    browsers: tuple[str, ...] = ()
    backend: str = ""
    speculation: bool = True
    standbys: int = 0


class Ending(enum.StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # a stop token or a stop text
    LENGTH = "length"  # max_tokens, or the context is full
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class TokenWritten:
    """Token `index` of the answer, from 0; each index is told once, in order."""

    index: int
    pick: Pick


@dataclass(frozen=True)
class Paused:
    """A stage was lost; the session goes on elsewhere. `why`: a sentence."""

    stage: int
    why: str


@dataclass(frozen=True)
class Resumed:
    """`how`: replay, recompute, …; `seconds` since the pause; `browser`: where the stage is now."""

    stage: int
    browser: str
    how: str
    seconds: float


@dataclass(frozen=True)
class Ended:
    """The last event. `error` is a sentence when it failed, `category` a failure category then."""

    ending: Ending
    prompt_tokens: int
    tokens: int
    cached_tokens: int = 0
    error: str = ""
    category: str = ""


Event = TokenWritten | Paused | Resumed | Ended
