"""Confidence means something: on simulated truth, recommendations hold as often as they say."""

from __future__ import annotations

import numpy as np

from history.core.recommendations import Basis, from_measurements
from history.core.series import Arm, Work
from tests.unit.history.truth import latencies, series

_WORLDS = 250


def _world(seed: int) -> tuple[float, float]:
    """One pool: 2 to 5 arms, 1 to 3 works; the confidence, and the chosen arm's true cost / best cost."""
    rng = np.random.default_rng(seed)
    arms = [Arm(f"browser{i}", "wasm") for i in range(rng.integers(2, 6))]
    # Half of the worlds are hard: arms so near each other that many are within 5 %.
    apart = rng.choice([0.06, 0.5])
    levels = {arm: 20.0 * np.exp(apart * rng.normal()) for arm in arms}
    failing = {arm: rng.choice([0.0, 0.0, 0.02]) for arm in arms}
    measured = []
    for n in range(rng.integers(1, 4)):
        work = Work("text", "m", str(n))
        scale = float(np.exp(rng.normal()))
        for arm in arms:
            size = int(rng.integers(5, 80))
            failures = int(rng.binomial(size, failing[arm]))
            values = latencies(rng, levels[arm] * scale, size, spread=rng.uniform(0.02, 0.4))
            measured.append(series(values, arm.browser, arm.platform, work=work, failures=failures))
    found = from_measurements(measured, Basis.MODEL, seed=seed)
    assert found is not None
    costs = {arm: levels[arm] / (1 - failing[arm]) for arm in arms}
    return found.confidence, costs[Arm(found.browser, found.platform)] / min(costs.values())


def test_nine_in_ten_of_the_sure_recommendations_are_within_five_percent_of_the_best() -> None:
    confidence, ratio = np.array([_world(seed) for seed in range(_WORLDS)]).T
    right = ratio <= 1.05
    sure = confidence >= 0.9
    assert sure.sum() > _WORLDS / 5, "too few sure ones to judge by"
    assert right[sure].mean() >= 0.9, f"{right[sure].mean():.3f} of {sure.sum()}"
    # Nor does it claim less than it knows, in each band of confidence, by more than a fifth.
    for low, high in ((0.3, 0.6), (0.6, 0.9)):
        band = (confidence >= low) & (confidence < high)
        if band.sum() > 40:
            assert abs(right[band].mean() - confidence[band].mean()) < 0.2
