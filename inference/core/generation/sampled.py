"""What the last stage's page gives of a step's logits, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TopLogits:
    """The largest logits of one position, largest first, ties by the smaller id.

    `ids` int64[k], `logits` float32[k], `log_sum` is log(sum(exp(logits))) over the whole vocabulary, so that
    `logits - log_sum` are the model's own log probabilities. `complete`: k is the vocabulary.
    """

    ids: NDArray[np.int64]
    logits: NDArray[np.float32]
    log_sum: float
    complete: bool


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; the defaults are greedy. Every field is a caller's, checked before."""

    temperature: float = 0.0  # 0: the largest logit
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    logprobs: int = 0  # how many alternatives are told with each token

    def needs(self) -> int:
        """How many of the largest logits must be known for an exact draw; 0: all."""
        if self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1.0:
            return 0
        if self.logit_bias:
            return 0
        if self.temperature == 0.0:
            return max(1, self.logprobs)
        return max(self.top_k, self.logprobs)


@dataclass(frozen=True)
class Pick:
    """A drawn token, its log probability by the model; `top`: the likeliest, as (id, log probability)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
