"""Which steps of several sessions are computed together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.rounds import MOST, ROUND_S, Waiting, rounds


def test_prompts_go_alone_and_after_the_tokens_of_others() -> None:
    waiting = [Waiting("prompt", 64, 1.0), Waiting("a", 1, 3.0), Waiting("late", 64, 2.0)]
    assert rounds(waiting, held=3, stages=1) == [["a"], ["prompt"]]
    assert rounds(waiting[:1], held=3, stages=1) == [["prompt"]]


def test_who_waited_longest_comes_first_and_each_browser_has_its_share() -> None:
    waiting = [Waiting(name, 1, float(since)) for since, name in enumerate("dbca")][::-1]
    assert rounds(waiting, held=4, stages=1) == [["d", "b", "c", "a"]]
    assert rounds(waiting, held=4, stages=2) == [["d", "b"]]
    assert rounds(waiting[:1], held=1, stages=3) == [["a"]]


def test_a_round_takes_no_longer_than_an_ordinary_shard_may_wait() -> None:
    slow = 0.4 * ROUND_S
    apart = [Waiting(name, 1, float(since), takes_s=slow) for since, name in enumerate("abcd")]
    assert rounds(apart, held=4, stages=1) == [["a", "b"]]
    (far_too_slow,) = rounds([Waiting("a", 1, 0.0, takes_s=9.0), *apart[1:]], held=4, stages=1)
    assert far_too_slow == ["a"]
    together = [Waiting(each.item, 1, each.since, "one run", slow) for each in apart]
    assert rounds(together, held=4, stages=1) == [["a", "b", "c", "d"]]
    assert rounds([*apart[:2], *together[2:]], held=4, stages=1) == [["a", "b"]]


@given(
    st.lists(st.tuples(st.sampled_from([1, 1, 2, 200]), st.floats(0, 100)), max_size=60),
    st.integers(1, 4),
)
def test_nobody_waits_for_ever(counts: list[tuple[int, float]], stages: int) -> None:
    """Each turn computes what waited longest; what was computed waits from then on."""
    waiting = [
        Waiting(index, count, since, takes_s=0.1) for index, (count, since) in enumerate(counts)
    ]
    seen: set[int] = set()
    for turn in range(len(waiting) + 1):
        found = rounds(waiting, held=len(waiting), stages=stages)
        assert all(len(each) <= MOST for each in found)
        done = {item for each in found for item in each}
        seen |= done
        waiting = [
            Waiting(w.item, w.count, 101.0 + turn, takes_s=0.1) if w.item in done else w
            for w in waiting
        ]
    assert seen == set(range(len(counts)))


def test_who_has_a_stage_comes_before_a_standby() -> None:
    waiting = [Waiting("standby", 1, 1.0, follows=True), Waiting("a", 1, 2.0), Waiting("b", 1, 3.0)]
    assert rounds(waiting, held=2, stages=1) == [["a", "b"]]
    assert rounds(waiting, held=3, stages=1) == [["a", "b", "standby"]]
