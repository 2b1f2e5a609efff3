"""Choosing among legal cuts: the best there is where that can be had, bounded everywhere."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from inference.graph.cutting.choose import Cuts, choose
from inference.graph.cutting.repeats import repetitions


def cuts_of(seed: int, count: int) -> Cuts:
    random = np.random.default_rng(seed)
    return Cuts(np.sort(random.random(count)), random.random(count) * random.choice([0.01, 0.3, 3]))


def badness(cuts: Cuts, chosen: list[int], shards: int) -> float:
    bounds = np.array([0.0, *cuts.ends[chosen], 1.0])
    return float(((np.diff(bounds) * shards - 1) ** 2).sum() + cuts.penalties[chosen].sum())


@pytest.mark.parametrize("seed", range(20))
def test_no_other_choice_is_better(seed: int) -> None:
    count = 3 + seed % 8
    cuts = cuts_of(seed, count)
    for shards in range(1, count + 2):
        chosen = choose(cuts, shards)
        assert chosen == sorted(set(chosen)) and len(chosen) == shards - 1
        least = min(
            badness(cuts, list(other), shards)
            for other in itertools.combinations(range(count), shards - 1)
        )
        assert badness(cuts, chosen, shards) == pytest.approx(least)


@pytest.mark.parametrize("shards", [2, 8, 64, 65, 300, 5000, 19_999, 20_001])
def test_twenty_thousand_cuts_take_seconds(shards: int) -> None:
    cuts = cuts_of(3, 20_000)
    started = time.process_time()
    chosen = choose(cuts, shards)
    assert time.process_time() - started < 15
    assert len(chosen) == shards - 1
    assert all(a < b for a, b in itertools.pairwise(chosen))
    if shards <= 64:
        assert np.diff([0.0, *cuts.ends[chosen], 1.0]).max() < 2 / shards


def test_all_cost_in_one_place_still_gives_the_asked_number() -> None:
    ends = np.concatenate([np.full(5000, 0.01), [0.5], np.full(5000, 0.99)])
    cuts = Cuts(ends, np.ones(len(ends)))
    for shards in (2, 40, 100, 9000):
        assert len(set(choose(cuts, shards))) == shards - 1


@pytest.mark.parametrize(
    ("items", "layers"),
    [
        ("", 1),
        ("a", 1),
        ("abc", 1),
        ("abababab", 4),
        ("xababababy", 4),
        ("aaaabaaaabaaaab", 3),
        ("abcdefgh", 1),
        ("q" * 6, 6),
        ("abxyzuvw", 1),
    ],
)
def test_layers_are_repetitions_of_most_of_the_graph(items: str, layers: int) -> None:
    assert repetitions(list(items)) == layers


def test_no_repetition_in_twenty_thousand_operators_is_found_soon() -> None:
    started = time.process_time()
    assert repetitions(list(np.random.default_rng(0).integers(0, 3, 20_000))) == 1
    assert time.process_time() - started < 15
