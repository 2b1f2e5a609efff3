from __future__ import annotations

import numpy as np
import pytest

from inference.core.exploration import Arm, draw, propensity
from inference.core.regret import Outcome, regret

FAST, SLOW = Arm("chromium", "wasm"), Arm("firefox", "wasm")


def _runs(usual: Arm, share: float, size: int, seed: int) -> list[Outcome]:
    """A pool that takes `usual`, and explores both arms alike; the truth is 10 and 20 ms."""
    rng = np.random.default_rng(seed)
    chances = {FAST: 0.5, SLOW: 0.5}
    found = []
    for _ in range(size):
        arm = draw(chances, rng.random()) if rng.random() < share else usual
        took = (10.0 if arm == FAST else 20.0) * float(np.exp(0.05 * rng.normal()))
        found.append(Outcome(arm, propensity(arm, usual, chances, share), took))
    return found


def test_whoever_takes_the_slower_way_regrets_what_it_cost() -> None:
    found = regret(_runs(SLOW, 0.1, 1000, 1), np.random.default_rng(0))
    assert found.best == FAST
    assert found.regret_ms is not None
    assert found.regret_ms == pytest.approx(9.5, abs=0.5)
    assert found.low_ms is not None
    assert found.high_ms is not None
    assert found.low_ms < 9.5 < found.high_ms


def test_whoever_takes_the_best_pays_for_exploring_only() -> None:
    found = regret(_runs(FAST, 0.1, 1000, 2), np.random.default_rng(0))
    assert found.best == FAST
    assert found.regret_ms == pytest.approx(0.5, abs=0.3)


def test_one_way_says_nothing_of_another() -> None:
    found = regret([Outcome(FAST, 1.0, 10.0)] * 50, np.random.default_rng(0))
    assert found.mean_ms == pytest.approx(10)
    assert found.regret_ms is None
    assert found.best is None
    assert regret([], np.random.default_rng(0)).mean_ms is None


@pytest.mark.parametrize(
    ("chance", "took"), [(0.0, 1.0), (1.1, 1.0), (0.5, 0.0), (0.5, float("nan"))]
)
def test_garbage_is_refused(chance: float, took: float) -> None:
    with pytest.raises(ValueError, match="propensity"):
        Outcome(FAST, chance, took)
