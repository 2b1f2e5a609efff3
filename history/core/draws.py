"""Random draws by the thousand, from pools that are made once.

A history of ten thousand models asks for the same few distributions again and again. So each is drawn once,
and whoever asks gets a stretch of that pool, which begins at a place of its own.
"""

from __future__ import annotations

import functools
import math
import random
from typing import Final

import numpy as np

from history.core.series import Floats

_POOL: Final = 2**14
_STEP: Final = 1.02
"""Parameters above `_EXACT` are rounded to steps of 2 %: the distributions hardly differ."""
_EXACT: Final = 50
_RARE: Final = 2
"""Few computations that hardly ever failed are the most usual case: it has pools of its own."""


class Draws:
    """`count` values of each asking; the same seed and the same questions give the same values."""

    def __init__(self, seed: int, count: int) -> None:
        self.count = count
        self._random = random.Random(seed)

    def student(self, freedom: float) -> Floats:
        """Student's t with so many degrees of freedom, at least 1; shape (count,)."""
        return self._stretch(_student(_rounded(max(1.0, freedom))))

    def log_success(self, successes: int, failures: int) -> Floats:
        """Log of the success rate, Jeffreys' posterior Beta(successes + ½, failures + ½); shape (count,).

        A beta is a quotient of gammas, so that pools of gammas do for every pair of counts.
        """
        if successes <= _EXACT and failures <= _RARE:
            return self._stretch(_log_success(successes, failures))
        return _log_share(
            self._stretch(_gamma(_rounded(successes))), self._stretch(_gamma(_rounded(failures)))
        )

    def _stretch(self, pool: Floats) -> Floats:
        start = int(self._random.random() * (pool.size - self.count))
        return pool[start : start + self.count]


def _rounded(value: float) -> int:
    if value <= _EXACT:
        return int(value)
    return round(_EXACT * _STEP ** round(math.log(value / _EXACT, _STEP)))


def _log_share(good: Floats, bad: Floats) -> Floats:
    share: Floats = -np.log1p(bad / good)
    return share


@functools.lru_cache(maxsize=200)
def _log_success(successes: int, failures: int) -> Floats:
    return _log_share(_gamma(successes), _gamma(failures))


@functools.lru_cache(maxsize=400)
def _student(freedom: int) -> Floats:
    return np.random.default_rng([1, freedom]).standard_t(freedom, _POOL)


@functools.lru_cache(maxsize=800)
def _gamma(count: int) -> Floats:
    drawn = np.random.default_rng([2, count]).standard_gamma(count + 0.5, _POOL)
    return np.maximum(drawn, 1e-9)
