"""Which token comes next.

In this order:
1. `logit_bias` is added; then `repetition_penalty`, for each token of prompt and text: a positive logit is
   divided by it, another multiplied; then `frequency_penalty` times how often the text has the token, and
   `presence_penalty` once if it has it, are taken off. What comes of it is rounded to float32 once.
2. Tokens that are suppressed are left out, and where the text has a form those that it does not allow.
3. Temperature 0: the largest; of equals the smallest id.
4. Else logits are divided by the temperature. `top_k` keeps the largest, of equals the smaller ids. `top_p`
   keeps the fewest of them, largest first, whose probabilities reach it. `min_p` then drops those below this
   share of the largest probability.
5. One random number chooses among the rest by their probabilities. It follows from seed and position alone,
   so that a position drawn again, by whomever, gives the same token.

The sum over the vocabulary is told with the log probabilities and decides nothing: browsers compute
exponentials with different last bits. What is told stays the model's own: a token that is suppressed may be
among the likeliest, and has its part of the sum.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.core.generation.sampled import NO_NUMBERS, Pick, Sampling, TopLogits, Undrawable

_SEEDS = 2**64
_NONE: Final[NDArray[np.int64]] = np.empty(0, np.int64)


def draw(
    top: TopLogits,
    sampling: Sampling,
    position: int,
    written: Sequence[int],
    prompt: Sequence[int],
    allowed: NDArray[np.bool_] | None = None,
    suppressed: NDArray[np.int64] = _NONE,
) -> Pick:
    """The token at a position.

    Args:
        position: of the token in prompt and text together, from 0.
        written: the text's tokens so far.
        prompt: the prompt's.
        allowed: bool[vocabulary], which tokens may come; None: all. It takes a complete row of logits.
        suppressed: int64[n], tokens that may not come, each once.

    Raises:
        Undrawable: the largest is no finite number, or no token that may come has a finite logit.
        ValueError: fewer logits are known than an exact draw needs, or a bias is of no token.
    """
    needed = 0 if allowed is not None else sampling.needs(len(suppressed))
    if needed == 1 and len(top.ids) == 1 and not sampling.logprobs:
        return _only(top)
    _check(top, needed)
    moved = _moved(top, sampling, written, prompt) if sampling.moves_logits else top
    if allowed is not None or len(suppressed):
        moved = _within(moved, allowed, suppressed)
    if sampling.temperature == 0.0:
        place = 0
    else:
        kept = _kept(moved.logits, sampling)
        place = _chosen(kept, uniform(sampling.seed, position))
    return _told(int(moved.ids[place]), top, sampling.logprobs)


def uniform(seed: int, position: int) -> float:
    """The random number of a position, from 0 up to and without 1: 53 bits of Philox, keyed by the seed."""
    raw = np.random.Philox(key=seed % _SEEDS, counter=position).random_raw()
    return float(int(raw) >> 11) * 2.0**-53


def _check(top: TopLogits, needed: int) -> None:
    """Whether so many of the largest logits are known, and are numbers; 0: all."""
    if not top.complete and (needed == 0 or len(top.ids) < needed):
        raise ValueError(
            f"expected {needed or 'all'} of the largest logits for this sampling, got {len(top.ids)}"
        )
    if not len(top.ids) or not math.isfinite(top.logits[0]) or math.isnan(top.logits.min()):
        raise Undrawable(NO_NUMBERS)


def _only(top: TopLogits) -> Pick:
    """The largest, where no other is known or needed: most texts ask for no more."""
    logit = float(top.logits[0])
    if not math.isfinite(logit):
        raise Undrawable(NO_NUMBERS)
    return Pick(int(top.ids[0]), logit - top.log_sum)


def _moved(
    top: TopLogits, sampling: Sampling, written: Sequence[int], prompt: Sequence[int]
) -> TopLogits:
    """The logits after biases and penalties, in order again."""
    row = np.empty(len(top.ids), np.float64)
    row[top.ids] = top.logits
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < len(row):
            raise ValueError(f"logit_bias: token {token} is none of the {len(row)} of the model")
        row[token] += bias
    counts = Counter(written)
    if sampling.repetition_penalty != 1.0:
        seen = np.array(sorted(set(prompt) | set(counts)), np.int64)
        penalty = sampling.repetition_penalty
        row[seen] = np.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
    if counts:
        tokens = np.fromiter(counts.keys(), np.int64)
        often = np.fromiter(counts.values(), np.float64)
        row[tokens] -= sampling.frequency_penalty * often + sampling.presence_penalty
    return TopLogits.of_row(row.astype(np.float32))


def _within(
    top: TopLogits, allowed: NDArray[np.bool_] | None, suppressed: NDArray[np.int64]
) -> TopLogits:
    """Those that may come, in the same order."""
    kept = np.isin(top.ids, suppressed, invert=True)
    if allowed is not None:
        kept &= allowed[top.ids]
    if not kept.any() or not np.isfinite(top.logits[kept][0]):
        raise Undrawable("no token that may come here has a finite logit")
    return TopLogits(top.ids[kept], top.logits[kept], top.log_sum, complete=False)


def _kept(logits: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float64]:
    """The weights of those that may be drawn, float64[at least 1], largest first; the largest is 1."""
    if sampling.top_k:
        logits = logits[: sampling.top_k]
    wide = logits.astype(np.float64)
    with np.errstate(
        over="ignore"
    ):  # by a temperature near 0: what is not the largest has no weight
        weights: NDArray[np.float64] = np.exp((wide - wide[0]) / sampling.temperature)
    if sampling.top_p < 1.0:
        reached = np.cumsum(weights)
        weights = weights[: 1 + int(np.searchsorted(reached, sampling.top_p * reached[-1]))]
    if sampling.min_p > 0.0:
        weights = weights[weights >= sampling.min_p]
    return weights


def _chosen(weights: NDArray[np.float64], share: float) -> int:
    """The place of the weight in whose part of the sum the share lies."""
    reached = np.cumsum(weights)
    place = int(np.searchsorted(reached, share * reached[-1], side="right"))
    return min(place, int(np.searchsorted(reached, reached[-1])))


def _told(token: int, top: TopLogits, count: int) -> Pick:
    """With the model's own log probabilities, before anything moved them."""
    place = int((top.ids == token).argmax())
    likeliest = zip(top.ids[:count].tolist(), top.logits[:count].tolist(), strict=True)
    return Pick(
        token,
        float(top.logits[place]) - top.log_sum,
        tuple((one, logit - top.log_sum) for one, logit in likeliest),
    )
