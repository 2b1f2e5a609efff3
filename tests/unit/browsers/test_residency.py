"""Who leaves when a model comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsers.core.errors import OutOfMemory
from browsers.core.failures import Retry
from browsers.core.residency import PEAK_FACTOR, Resident, planned_mb, to_unload


def test_nobody_leaves_while_there_is_room() -> None:
    held = [Resident("a", 100.0, 1.0), Resident("b", 100.0, 2.0)]
    assert to_unload(held, incoming_mb=100, baseline_mb=500, limit_mb=800) == ()


def test_the_least_recently_used_leaves_first() -> None:
    held = [Resident("new", 100.0, 3.0), Resident("old", 100.0, 1.0), Resident("mid", 100.0, 2.0)]
    assert to_unload(held, incoming_mb=150, baseline_mb=500, limit_mb=800) == ("old", "mid")


def test_a_model_that_does_not_fit_alone_needs_another_browser() -> None:
    with pytest.raises(OutOfMemory, match="400 MB beside the browser's own 500 MB") as caught:
        to_unload([Resident("a", 1.0, 1.0)], incoming_mb=400, baseline_mb=500, limit_mb=800)
    assert caught.value.category.retry is Retry.NEVER_HERE


def test_plans_follow_the_backend() -> None:
    for backend, factor in PEAK_FACTOR.items():
        assert planned_mb(10_000_000, backend=backend) == pytest.approx(10 * factor)


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 100)), max_size=8),
    st.floats(0, 1000),
    st.floats(0, 1000),
)
def test_what_stays_fits_and_nobody_leaves_needlessly(
    models: list[tuple[float, float]], incoming: float, baseline: float
) -> None:
    held = [Resident(index, size, used) for index, (size, used) in enumerate(models)]
    limit = baseline + incoming + 500
    leaving = to_unload(held, incoming_mb=incoming, baseline_mb=baseline, limit_mb=limit)

    def taken(gone: tuple[int, ...]) -> float:
        return baseline + incoming + sum(each.planned_mb for each in held if each.key not in gone)

    assert taken(leaving) <= limit + 1e-6
    assert not leaving or taken(leaving[:-1]) > limit - 1e-6
    assert leaving == to_unload(
        held[::-1], incoming_mb=incoming, baseline_mb=baseline, limit_mb=limit
    )
