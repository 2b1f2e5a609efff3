"""What a row costs in batches of different sizes, and which size is taken."""

from __future__ import annotations

import dataclasses

import numpy as np

from history.core.batching import BatchTimes, batch_times, best_batch
from history.core.series import Arm, Series
from tests.unit.history.truth import WORK, latencies, series

ARM = Arm("chromium", "wasm")


def _in_batches(size: int, ms: float, *, count: int = 20, shape: str = "", load: int = 0) -> Series:
    rng = np.random.default_rng(size)
    work = dataclasses.replace(
        WORK, batch_size=size, load=load, shape=shape or f"ids[{size},128] mask[{size},128]"
    )
    return series(latencies(rng, ms, count, spread=0.02), work=work)


def test_the_smallest_batch_near_the_cheapest_row_is_taken() -> None:
    measured = [_in_batches(1, 10.0), _in_batches(8, 40.0), _in_batches(32, 158.0)]
    times = batch_times(measured, ARM)
    assert [(one.batch_size, one.samples) for one in times] == [(1, 20), (8, 20), (32, 20)]
    np.testing.assert_allclose([one.ms_per_row for one in times], [10, 5, 4.94], rtol=0.05)
    assert best_batch(times) == 8


def test_one_size_and_too_few_samples_say_nothing() -> None:
    measured = [_in_batches(1, 10.0), _in_batches(8, 40.0, count=4)]
    assert best_batch(batch_times(measured, ARM)) is None
    assert batch_times(measured, Arm("firefox", "wasm")) == ()
    assert best_batch([]) is None


def test_batches_of_other_lengths_or_under_other_load_are_not_compared() -> None:
    longer = _in_batches(8, 4.0, shape="ids[8,16] mask[8,16]")
    crowded = _in_batches(8, 400.0, load=4)
    assert best_batch(batch_times([_in_batches(1, 10.0), longer, crowded], ARM)) is None


def test_a_group_with_several_sizes_goes_before_one_with_more_samples() -> None:
    many = _in_batches(64, 1.0, count=200, shape="ids[64,16] mask[64,16]")
    times = batch_times([many, _in_batches(1, 10.0), _in_batches(8, 40.0)], ARM)
    assert best_batch(times) == 8
    assert all(isinstance(one, BatchTimes) for one in times)
