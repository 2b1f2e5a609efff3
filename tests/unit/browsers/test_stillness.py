"""Who looks regularly knows when something stood still, and for how long not to believe what is missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from browsers.core.stillness import Stillness


def watcher() -> Stillness:
    return Stillness(allowed_s=2.0, distrust_s=3.0)


def test_regular_looks_are_trusted_after_the_first_few() -> None:
    watch = watcher()
    assert [watch.observe(now) for now in (100, 101, 102, 102.9)] == [False] * 4
    assert [watch.observe(now) for now in (103, 104, 106, 107)] == [True] * 4


def test_after_a_pause_nothing_is_believed_until_leases_can_have_been_renewed() -> None:
    watch = watcher()
    for now in range(10):
        watch.observe(float(now))
    assert watch.observe(10.0)
    assert [watch.observe(now) for now in (15.0, 16.0, 17.9)] == [False] * 3
    assert watch.observe(18.0)


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=50))
def test_trust_means_that_every_look_of_the_last_while_was_in_time(gaps: list[float]) -> None:
    watch, now, looks = watcher(), 0.0, []
    for gap in gaps:
        now += gap
        trusted = watch.observe(now)
        looks.append((now, gap))
        if trusted:
            recent = [late for at, late in looks if at > now - 3.0]
            assert all(late <= 2.0 for late in recent)
