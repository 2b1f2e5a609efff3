"""Which browser computes a shard."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.placement import (
    BackendView,
    BrowserView,
    NoBrowser,
    Pin,
    ShardView,
    Wishes,
    candidates,
    peak_mb,
    place,
)


def browser(name: str, **changes: Any) -> BrowserView:
    view = BrowserView(
        id=name,
        kind=name,
        family=name,
        state="ready",
        backends=(BackendView("wasm", None, 2.0),),
        loaded={},
        resident_bytes=0,
        memory_limit_mb=1000.0,
        outstanding=0,
    )
    return dataclasses.replace(view, **changes)


SHARD = ShardView(0, "aa", 10 * 2**20)


def best(pool: list[BrowserView], wishes: Wishes | None = None, **context: Any) -> str:
    context = {"avoid": {}, "refused": {}, "used": {}, **context}
    return candidates(SHARD, pool, wishes or Wishes(), **context)[0].browser


def test_a_browser_that_holds_the_shard_is_preferred() -> None:
    assert best([browser("a"), browser("b", loaded={"aa": 5.0})]) == "b"


def test_a_loaded_browser_with_a_long_queue_yields_to_an_idle_one() -> None:
    busy = browser("b", loaded={"aa": 50.0}, outstanding=100)
    assert best([browser("a"), busy]) == "a"


def test_shards_of_one_run_spread_over_browsers() -> None:
    pool = [browser("a"), browser("b"), browser("c")]
    placed = place([ShardView(i, f"s{i}", 1) for i in range(3)], pool, Wishes())
    assert sorted(candidate.browser for candidate in placed) == ["a", "b", "c"]


def test_wished_browsers_are_taken_in_their_order() -> None:
    pool = [browser("a"), browser("b"), browser("c")]
    placed = place([ShardView(i, f"s{i}", 1) for i in range(3)], pool, Wishes(("c", "a")))
    assert [candidate.browser for candidate in placed] == ["c", "a", "c"]


def test_the_first_of_a_kind_has_a_name_that_means_it_alone() -> None:
    pool = [browser("a", outstanding=9), browser("a-2", kind="a", family="a"), browser("b")]
    assert best(pool, Wishes(("a",))) == "a-2", "its id names all of the kind"
    assert best(pool, Wishes(("a-1",))) == "a"
    assert best(pool, Wishes(pins={0: Pin("a-1")})) == "a"
    assert best(pool, Wishes(("a-2",))) == "a-2"


def test_a_pin_wins_over_everything() -> None:
    pool = [browser("a", loaded={"aa": 1.0}), browser("b", outstanding=9)]
    assert best(pool, Wishes(pins={0: Pin("b")})) == "b"


def test_a_platform_is_only_sought_where_it_passed_its_probe() -> None:
    webgpu = (BackendView("wasm", None, 1.0), BackendView("webgpu", True, 90.0))
    pool = [browser("a"), browser("b", backends=webgpu)]
    assert best(pool, Wishes(platform="webgpu")) == "b"
    with pytest.raises(NoBrowser, match="it has no webnn") as caught:
        best(pool, Wishes(platform="webnn"))
    assert caught.value.lasting


def test_a_platform_that_is_not_offered_is_refused_with_the_reason() -> None:
    late = "timeout: no answer; not known whether it is right; asked again when idle, after 30 s"
    with pytest.raises(NoBrowser) as caught:
        best([browser("a", withheld={"webgpu": late})], Wishes(platform="webgpu"))
    assert caught.value.reasons == {"a": f"it has no webgpu ({late}; it has wasm)"}


def test_a_browser_on_which_it_failed_comes_last_but_is_not_lost() -> None:
    assert best([browser("a"), browser("b")], avoid={"a": "browser_crash"}) == "b"
    assert best([browser("a")], avoid={"a": "browser_crash"}) == "a"


def test_a_browser_that_refused_it_is_never_asked_again() -> None:
    with pytest.raises(NoBrowser, match="it refused the shard") as caught:
        best([browser("a")], refused={"a": "unsupported_operation"})
    assert caught.value.lasting


def test_a_recovering_browser_is_worth_waiting_for() -> None:
    with pytest.raises(NoBrowser, match="it is recovering") as caught:
        best([browser("a", state="recovering")])
    assert not caught.value.lasting


def test_what_does_not_fit_says_how_much_is_missing() -> None:
    heavy = ShardView(0, "aa", 500_000_000)  # 3.7 times as much while it loads
    with pytest.raises(NoBrowser, match="850 MB short"):
        candidates(heavy, [browser("a")], Wishes(), avoid={}, refused={}, used={})


def test_a_critical_run_is_spread_over_families_then_zones_before_speed() -> None:
    pool = [
        browser("a1", family="a", zone="here", loaded={"s0": 1.0, "s1": 1.0, "s2": 1.0}),
        browser("a2", family="a", zone="there", loaded={"s0": 2.0, "s1": 2.0, "s2": 2.0}),
        browser("a3", family="a", zone="here", loaded={"s0": 1.5, "s1": 1.5, "s2": 1.5}),
        browser("b1", family="b", zone="here", loaded={"s0": 90.0, "s1": 90.0, "s2": 90.0}),
    ]
    shards = [ShardView(i, f"s{i}", 1) for i in range(3)]

    def places(wishes: Wishes) -> list[str]:
        return [candidate.browser for candidate in place(shards, pool, wishes)]

    assert places(Wishes()) == ["a1", "a3", "a2"]
    assert places(Wishes(critical=True)) == ["a1", "b1", "a2"]
    assert places(Wishes(critical=True, pins={1: Pin("a1")})) == ["a1", "a1", "b1"]


weights = st.integers(0, 2**32)
pools = st.lists(
    st.builds(
        lambda i, limit, outstanding: browser(
            f"b{i}", memory_limit_mb=limit, outstanding=outstanding
        ),
        st.integers(0, 5),
        st.floats(100, 8000),
        st.integers(0, 50),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda view: view.id,
)


@given(st.lists(weights, min_size=1, max_size=8), pools)
def test_no_placement_exceeds_a_memory_limit_and_the_same_input_gives_the_same_plan(
    sizes: list[int], pool: list[BrowserView]
) -> None:
    shards = [ShardView(i, f"s{i}", size) for i, size in enumerate(sizes)]
    try:
        placed = place(shards, pool, Wishes())
    except NoBrowser:
        heaviest = max(shards, key=lambda shard: shard.weight_bytes)
        assert all(peak_mb(heaviest, b, "") > (b.memory_limit_mb or 0) for b in pool)
        return
    views = {view.id: view for view in pool}
    limits = {view.id: view.memory_limit_mb or 0.0 for view in pool}
    for shard, where in zip(shards, placed, strict=True):
        assert peak_mb(shard, views[where.browser], "") <= limits[where.browser]
    assert placed == place(list(reversed(shards)), list(reversed(pool)), Wishes())


def test_a_small_shard_goes_where_nothing_waits_though_it_is_a_little_slower_there() -> None:
    """What waits takes its way through a worker too, not only its computation."""
    fast = browser("fast", loaded={"aa": 1.0}, outstanding=1)
    assert best([fast, browser("idle", loaded={"aa": 4.0})]) == "idle"
    assert best([fast, browser("slow", loaded={"aa": 40.0})]) == "fast"
