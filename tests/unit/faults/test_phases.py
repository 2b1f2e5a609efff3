"""Which phase of which attempt a strike came in."""

from __future__ import annotations

import pytest

from webpool_site.lab.faults.chaos import Strike
from webpool_site.lab.faults.phases import Lengths, Phase, Worked, covered, phase_at

USUAL = Lengths(load=100.0, transfer=20.0, compute=200.0)


def strike(at: float, target: str = "page", browser: str = "a") -> Strike:
    return Strike(at, target, browser, pid=1, started=0.0, name="x", stopped=False)


def worked(began: float, ended: float, lengths: Lengths | None, browser: str = "a") -> Worked:
    return Worked(browser, "sha", began, ended, lengths)


@pytest.mark.parametrize(
    ("elapsed_ms", "phase"),
    [
        (0, Phase.LOADING), (99, Phase.LOADING), (100, Phase.TRANSFER), (111, Phase.COMPUTING),
        (309, Phase.COMPUTING), (311, Phase.TRANSFER), (321, Phase.RECORDING), (9999, Phase.RECORDING),
    ],
)  # fmt: skip
def test_an_attempt_loads_takes_computes_gives_and_is_recorded(
    elapsed_ms: float, phase: Phase
) -> None:
    assert phase_at(elapsed_ms, USUAL) == phase


def test_an_attempt_that_was_cut_short_is_measured_by_what_is_usual() -> None:
    whole = worked(0.0, 0.35, USUAL)
    warm, cold = worked(1.0, 1.2, None), worked(2.0, 2.2, None)
    assert covered([strike(1.05)], [whole, warm]) == {"page": {"computing": 1}}
    # Struck before, the browser has to load again.
    assert covered([strike(1.5), strike(2.05)], [whole, cold]) == {
        "page": {"idle": 1, "loading": 1}
    }


def test_nobody_guesses_what_took_much_longer_than_usual() -> None:
    assert covered([strike(5.0)], [worked(0.0, 0.35, USUAL), worked(1.0, 6.0, None)]) == {
        "page": {"late": 1}
    }
    assert covered([strike(5.0)], [worked(1.0, 6.0, None)]) == {"page": {"late": 1}}


def test_a_service_is_struck_for_everybody_and_a_browser_for_itself() -> None:
    both = [worked(0.0, 0.33, USUAL), worked(0.0, 0.33, USUAL, browser="b")]
    assert covered([strike(0.05, "valkey", "")], both) == {"valkey": {"loading": 2}}
    assert covered([strike(0.05, browser="b")], both) == {"page": {"loading": 1}}
    assert covered([strike(7.0, browser="b")], both) == {"page": {"idle": 1}}
