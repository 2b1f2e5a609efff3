"""A deadline as callers write it: what every door takes, and what it answers to the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from inference.errors import InvalidRequest
from inference.runs.creation import create_run
from inference.runs.option_kinds import Seconds, longest_deadline_s
from inference.runs.options import Door, parse_options
from inference.runs.requests import RunRequest

NO_DEADLINE: dict[str, Any] = {
    "zero": 0, "zero-float": 0.0, "negative": -1, "just-negative": -1e-9, "nan": math.nan,
    "infinite": math.inf, "minus-infinite": -math.inf, "400-digits": 10**400,
    "minus-400-digits": -(10**400), "5000-digits": 10**5000, "too-long": 450.001, "digits": "60",
    "empty": "", "true": True, "list": [60], "bytes": b"60", "complex": 1j,
}  # fmt: skip
NO_TIMEOUT: dict[str, Any] = {
    "zero": 0, "negative": -1, "400-digits": 10**400, "5000-digits": 10**5000, "too-long": 450_000_001,
    "float": 1e6, "nan": math.nan, "infinite": math.inf, "digits": "1000000", "true": True,
}  # fmt: skip


@pytest.mark.parametrize("value", NO_DEADLINE.values(), ids=NO_DEADLINE.keys())
def test_what_is_no_time_from_now_is_refused_with_what_was_expected(value: Any) -> None:
    for refused in (
        lambda: parse_options({"deadline_s": value}, Door.V2),
        lambda: create_run(RunRequest(model="any", inputs=(), deadline_s=value)),
    ):
        with pytest.raises(
            InvalidRequest, match=r"deadline_s: expected .* above 0 and at most 450, got "
        ):
            refused()


@pytest.mark.parametrize("value", NO_TIMEOUT.values(), ids=NO_TIMEOUT.keys())
def test_a_timeout_is_a_whole_number_of_microseconds(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"microseconds from 1 to 450000000, got "):
        parse_options({"timeout": value}, Door.V2)


def test_both_ways_to_say_it_mean_the_same_and_only_one_may_be_used() -> None:
    assert parse_options({"timeout": 2_500_000}, Door.V2) == parse_options(
        {"deadline_s": 2.5}, Door.V2
    )
    assert parse_options({"timeout": 1}, Door.V2) == {"deadline_s": 1e-6}
    with pytest.raises(InvalidRequest, match="got both"):
        parse_options({"timeout": 1, "deadline_s": 1}, Door.V2)


def test_the_longest_deadline_is_taken_and_is_half_of_what_tensors_live(settings: Any) -> None:
    assert Seconds().read("deadline_s", 450) == longest_deadline_s() == 450.0
    settings.WEBPOOL_TENSOR_TTL_S = 100
    with pytest.raises(InvalidRequest, match="at most 50, got 51"):
        Seconds().read("deadline_s", 51)


def test_a_setting_that_is_no_deadline_is_named(settings: Any) -> None:
    settings.WEBPOOL_RUN_DEADLINE_S = 0.0
    with pytest.raises(InvalidRequest, match=r"^WEBPOOL_RUN_DEADLINE_S: expected"):
        create_run(RunRequest(model="any", inputs=()))
