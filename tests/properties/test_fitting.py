"""Stretches of a model in browsers with limits: nobody's is broken, and more memory never hurts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.fitting import Carried, DoesNotFit, Room, fit

_NODES = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.just(0), max_size=2), min_size=1, max_size=12
)


@st.composite
def models(draw: st.DrawFn) -> Carried:
    """Nodes with weights of their own, and some that several share; not every boundary is legal."""
    shared = {name: draw(st.integers(1, 30)) for name in "abcdefgh"}
    nodes = [
        {**{name: shared[name] for name in names}, f"own {at}": draw(st.integers(0, 40))}
        for at, names in enumerate(draw(_NODES))
    ]
    legal = draw(st.sets(st.integers(1, len(nodes)), max_size=len(nodes)))
    return Carried(nodes, sorted(legal))


_SIZES = st.lists(st.integers(0, 120), min_size=1, max_size=12)


def rooms(sizes: list[int]) -> list[Room]:
    return [Room(f"browser-{number}", size) for number, size in enumerate(sizes)]


def feasible(carried: Carried, sizes: list[int]) -> bool:
    try:
        return bool(fit(carried, rooms(sizes)))
    except DoesNotFit:
        return False


@given(carried=models(), sizes=_SIZES)
def test_limits_hold_and_every_node_is_in_one_stretch(carried: Carried, sizes: list[int]) -> None:
    given_rooms = rooms(sizes)
    limit = {room.browser: room.bytes for room in given_rooms}
    try:
        stretches = fit(carried, given_rooms)
    except DoesNotFit as error:
        assert error.needed == carried.between(0, carried.nodes)
        assert error.room == sum(sizes)
        return
    assert [one.start for one in stretches] == [0, *(one.end for one in stretches[:-1])]
    assert stretches[-1].end == carried.nodes
    assert {one.end for one in stretches} <= set(carried.ends)
    assert len({one.browser for one in stretches}) == len(stretches)
    for one in stretches:
        assert one.bytes == carried.between(one.start, one.end) <= limit[one.browser]
    assert fit(carried, given_rooms) == stretches == fit(carried, given_rooms[::-1])


@given(carried=models(), sizes=_SIZES, more=st.lists(st.integers(0, 60), min_size=13, max_size=13))
def test_more_memory_never_makes_a_plan_impossible(
    carried: Carried, sizes: list[int], more: list[int]
) -> None:
    if feasible(carried, sizes):
        assert feasible(carried, [size + extra for size, extra in zip(sizes, more, strict=False)])
        assert feasible(carried, [*sizes, more[-1]])


@given(carried=models(), sizes=st.lists(st.integers(0, 120), min_size=1, max_size=4))
def test_what_any_order_of_browsers_could_hold_is_found(carried: Carried, sizes: list[int]) -> None:
    def reaches(order: tuple[int, ...]) -> bool:
        at = 0
        for size in order:
            at = carried.reach(at, size)
        return at == carried.nodes

    assert feasible(carried, sizes) == any(map(reaches, itertools.permutations(sizes)))


@given(carried=models(), start=st.integers(0, 11), room=st.integers(0, 150))
def test_a_stretch_reaches_as_far_as_its_weights_fit(
    carried: Carried, start: int, room: int
) -> None:
    start = start if start in carried.ends and start < carried.nodes else 0
    end = carried.reach(start, room)
    assert end == start or carried.between(start, end) <= room
    further = [at for at in carried.ends if at > end]
    assert not further or carried.between(start, further[0]) > room


def test_the_fullest_browser_is_as_empty_as_can_be() -> None:
    even = Carried([{f"w{at}": 10} for at in range(8)], range(1, 8))
    assert [one.bytes for one in fit(even, rooms([80, 80, 80, 80]))] == [20, 20, 20, 20]
    larger, smaller = fit(even, rooms([80, 40]))
    assert max(larger.bytes / 80, smaller.bytes / 40) == 0.75


def test_what_is_missing_is_said() -> None:
    model = Carried([{"a": 100}, {"b": 50}], [1])
    with pytest.raises(DoesNotFit) as caught:
        fit(model, rooms([60, 60]))
    assert (caught.value.needed, caught.value.room, caught.value.largest) == (150, 120, 100)
    assert caught.value.missing == 40, "the part that cannot be cut lacks more than the whole"
