"""What the last stage's page gives of a step's logits, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_NUMBERS: Final = "expected logits that are numbers, got NaN, infinity or none at all"


class Undrawable(ValueError):
    """No token can be drawn from logits: a page computed them wrongly, or the model gives such everywhere."""


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

    @classmethod
    def of_row(cls, row: NDArray[np.float32], count: int = 0) -> TopLogits:
        """The `count` largest of a whole vocabulary's logits, float32[vocabulary]; 0: all of them.

        Raises:
            Undrawable: one is not a number, or infinite upwards, or none is finite.
        """
        if np.isnan(row).any() or not row.size or not np.isfinite(row.max()):
            raise Undrawable(NO_NUMBERS)
        count = min(count, row.size) or row.size
        keys = _keys(row)
        if count < row.size:
            keys = np.partition(keys, count - 1)[:count]
        ids = (np.sort(keys) & np.uint64(0xFFFFFFFF)).astype(np.int64)
        wide = row.astype(np.float64)
        log_sum = float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))
        return cls(ids, row[ids], log_sum, count == row.size)


def _keys(row: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A whole number for each logit, of which the smallest is the largest logit's; its low half is the id.

    One sort of whole numbers is several times faster than a stable sort of floats.
    """
    bits = (row + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0: they are a tie
    negative = (bits >> np.uint32(31)).astype(bool)
    descending = np.where(negative, bits, ~bits & np.uint32(0x7FFFFFFF))
    return (descending.astype(np.uint64) << np.uint64(32)) | np.arange(row.size, dtype=np.uint64)


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

    @property
    def moves_logits(self) -> bool:
        """Whether penalties or biases change which logits are the largest."""
        penalties = self.frequency_penalty or self.presence_penalty
        return bool(penalties or self.repetition_penalty != 1.0 or self.logit_bias)

    def needs(self, suppressed: int = 0) -> int:
        """How many of the largest logits must be known for an exact draw; 0: all.

        A probability is a share of the sum over the candidates, so that without `top_k` every logit has a
        part in it; how many `top_p` and `min_p` leave is not known before. Penalties and biases may bring
        up a token from anywhere. So many as are `suppressed` may be among the largest, and are left out.
        """
        if self.moves_logits:
            return 0
        if self.temperature == 0.0 or self.top_k == 1:
            return max(1 + suppressed, self.logprobs)
        return max(self.top_k + suppressed, self.logprobs) if self.top_k else 0


@dataclass(frozen=True)
class Pick:
    """A drawn token, its log probability by the model; `top`: the likeliest, as (id, log probability)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
