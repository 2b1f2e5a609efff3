"""The quick ones say what scipy and numpy say."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from history.core import ranks
from history.core.draws import Draws

_SAMPLES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30) | st.lists(
    st.sampled_from([1.0, 2.0, 2.5, 3.0]), min_size=1, max_size=30
)


@given(_SAMPLES, _SAMPLES)
def test_slower_is_mann_and_whitneys(own: list[float], best: list[float]) -> None:
    expected = scipy.stats.mannwhitneyu(own, best, alternative="greater").pvalue
    # Of values that are all the same scipy knows nothing, and nothing says that they differ.
    expected = 1.0 if np.isnan(expected) else expected
    assert ranks.slower(np.array(own), np.array(best)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_false_discoveries_are_benjamini_and_hochbergs(p_values: list[float]) -> None:
    expected = scipy.stats.false_discovery_control(p_values)
    assert ranks.false_discoveries(p_values) == pytest.approx(list(expected))


@given(_SAMPLES, st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    ascending = np.sort(np.array(values))
    assert ranks.quantile(ascending, share) == pytest.approx(np.quantile(ascending, share))
    assert ranks.median(np.array(values)) == pytest.approx(np.median(values))


@pytest.mark.parametrize("counts", [(5, 0), (300, 4), (7, 40)])
def test_draws_of_a_success_rate_are_of_its_posterior(counts: tuple[int, int]) -> None:
    successes, failures = counts
    drawn = np.exp(Draws(3, 4000).log_success(successes, failures))
    posterior = scipy.stats.beta(successes + 0.5, failures + 0.5)
    assert np.median(drawn) == pytest.approx(posterior.median(), abs=0.02)
    assert np.quantile(drawn, 0.05) == pytest.approx(posterior.ppf(0.05), abs=0.03)


@pytest.mark.parametrize("freedom", [1.0, 4.0, 200.0])
def test_draws_of_students_t_have_its_quantiles(freedom: float) -> None:
    drawn = Draws(3, 4000).student(freedom)
    for share in (0.1, 0.5, 0.9):
        expected = scipy.stats.t(freedom).ppf(share)
        assert np.quantile(drawn, share) == pytest.approx(expected, abs=0.05, rel=0.1)
