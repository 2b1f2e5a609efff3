"""What is read out of series in time: anomalies, trends, change points, regressions, comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from history.core.anomalies import judge, outliers
from history.core.changepoints import FALSE_DISCOVERY_RATE, change_points, change_points_of
from history.core.comparison import compare
from history.core.regressions import BuildSeries, Known, Severity, closed, opened
from history.core.series import Work
from history.core.trends import trend
from tests.unit.history.truth import latencies, series


def _level(median_ms: float, size: int, seed: int = 0) -> np.ndarray:
    return latencies(np.random.default_rng(seed), median_ms, size, spread=0.1)


def _plain(seed: int, *levels: tuple[float, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([level * np.exp(0.1 * rng.normal(size=n)) for level, n in levels])


class TestAnomalies:
    def test_a_jump_is_one_and_the_usual_is_none(self) -> None:
        baseline = _plain(1, (20.0, 50))
        assert judge("latency_ms", 60.0, baseline).anomaly is True
        assert judge("latency_ms", 20.5, baseline).anomaly is False

    def test_a_constant_baseline_detects_a_jump(self) -> None:
        verdict = judge("latency_ms", 11.0, np.full(20, 10.0))
        assert verdict.anomaly is True
        assert verdict.z is None
        assert verdict.robust_z is None
        assert judge("latency_ms", 10.0, np.full(20, 10.0)).anomaly is False

    def test_an_outlier_in_the_baseline_does_not_hide_a_jump(self) -> None:
        baseline = np.concatenate([_plain(1, (20.0, 30)), [20_000.0]])
        verdict = judge("latency_ms", 60.0, baseline)
        assert verdict.z is not None
        assert abs(verdict.z) < 2.5
        assert verdict.anomaly is True
        assert 30 in outliers(baseline)

    def test_few_samples_tell_nothing(self) -> None:
        assert judge("latency_ms", 60.0, np.full(9, 10.0)).anomaly is None
        assert outliers(np.array([10.0, 10.1, 9.9, 10.0, 10.2, 60.0])) == []

    def test_what_is_hardly_off_is_none_however_alike_the_others_are(self) -> None:
        alike = np.concatenate([np.full(30, 10.0), [10.01], [10.4]])
        assert judge("latency_ms", 10.4, alike).anomaly is False
        assert outliers(alike) == []
        assert outliers(np.append(alike, 11.0)) == [32]

    def test_garbage_is_refused(self) -> None:
        with pytest.raises(ValueError, match="finite numbers above zero"):
            judge("latency_ms", float("nan"), np.full(9, 10.0))


class TestTrends:
    def test_a_drift_is_found_with_its_slope(self) -> None:
        days = np.linspace(0, 20, 200)
        values = _plain(2, (10.0, 200)) * np.exp(0.02 * days)
        found = trend(days, values)
        assert found.direction == "rising"
        assert found.low is not None
        assert found.high is not None
        assert found.low < np.expm1(0.02) < found.high

    def test_no_drift_is_no_trend(self) -> None:
        days = np.linspace(0, 20, 100)
        directions = [trend(days, _plain(seed, (10.0, 100))).direction for seed in range(40)]
        assert directions.count("none") >= 36
        assert trend(days, np.full(100, 10.0)).direction == "none"

    def test_few_samples_or_one_moment_tell_nothing(self) -> None:
        assert trend(np.arange(4.0), np.ones(4)).direction == "unknown"
        assert trend(np.zeros(9), np.ones(9)).direction == "unknown"
        with pytest.raises(ValueError, match="days"):
            trend(np.arange(3.0), np.ones(4))

    def test_a_few_seconds_say_nothing_of_a_day(self) -> None:
        seconds = np.arange(12.0) / 86_400
        assert trend(seconds, np.linspace(10, 30, 12)).direction == "unknown"

    def test_a_slope_beyond_what_a_number_holds_has_a_direction_and_no_size(self) -> None:
        found = trend(np.arange(61.0) / 60 / 24, np.geomspace(1e-6, 1e12, 61))
        assert (found.direction, found.per_day) == ("rising", None)


class TestChangePoints:
    def test_known_breaks_are_found_where_they_are(self) -> None:
        found = change_points(_plain(3, (10.0, 60), (13.0, 40), (9.0, 50)))
        assert [point.index for point in found] == pytest.approx([60, 100], abs=2)
        assert found[0].ratio == pytest.approx(1.3, rel=0.08)

    def test_a_level_that_comes_and_goes_is_found(self) -> None:
        found = change_points_of([
            _plain(seed, (10.0, 60), (13.0, 30), (10.0, 60)) for seed in range(20)
        ])  # fmt: skip
        near = [
            any(abs(point.index - at) <= 5 for point in points)
            for points in found
            for at in (60, 90)
        ]
        assert sum(near) >= 36

    def test_the_rate_of_false_discoveries_holds(self) -> None:
        """120 series, every second with a break: of what is reported, 95 in 100 is one, within 5 values."""
        broken = [_plain(seed, (10.0, 50), (12.5, 50)) for seed in range(60)]
        steady = [_plain(1000 + seed, (10.0, 100)) for seed in range(60)]
        found = change_points_of([*broken, *steady])
        true = sum(abs(p.index - 50) <= 5 for points in found[:60] for p in points)
        reported = sum(map(len, found))
        assert true >= 54
        assert reported - true <= FALSE_DISCOVERY_RATE * reported

    def test_neighbours_that_are_alike_are_no_change(self) -> None:
        found = change_points_of([_level(10.0, 200, seed) for seed in range(40)])
        assert sum(map(bool, found)) <= 2

    def test_a_constant_series_and_a_short_one_have_none(self) -> None:
        assert change_points(np.full(100, 3.0)) == []
        assert change_points(np.array([1.0, 9.0, 1.0])) == []
        assert change_points(np.empty(0)) == []


class TestRegressions:
    def _series(self, *builds: tuple[str, np.ndarray]) -> list[BuildSeries]:
        return [BuildSeries("one", dict(builds))]

    def test_a_slower_build_opens_one_by_its_size(self) -> None:
        for factor, severity in (
            (1.15, Severity.LOW), (1.3, Severity.MEDIUM), (2.0, Severity.HIGH),
        ):  # fmt: skip
            found = opened(
                self._series(("155", _plain(1, (10.0, 60))), ("156", _plain(2, (10 * factor, 60))))
            )
            assert [(one.from_build, one.to_build) for one in found] == [("155", "156")]
            assert found[0].severity == severity
            assert found[0].change_ratio == pytest.approx(factor, rel=0.1)

    def test_an_equal_or_faster_build_opens_none(self) -> None:
        for factor in (0.5, 1.0, 1.05):
            after = _plain(2, (10 * factor, 60))
            assert opened(self._series(("155", _plain(1, (10.0, 60))), ("156", after))) == []

    def test_it_is_opened_once_and_closed_by_the_build_that_is_fixed(self) -> None:
        before, slow = ("155", _plain(1, (10.0, 60))), ("156", _plain(2, (15.0, 60)))
        known = [Known("one", "155", "156")]
        assert opened(self._series(before, slow), known) == []
        assert closed(self._series(before, slow), known) == []
        fixed = self._series(before, slow, ("157", _plain(3, (10.0, 60))))
        assert [one.by_build for one in closed(fixed, known)] == ["157"]

    def test_one_that_ended_in_the_same_build_closes_and_stays_closed(self) -> None:
        measured = self._series(
            ("155", _plain(1, (10.0, 60))), ("156", _plain(2, (15.0, 90), (10.0, 60)))
        )
        assert len(closed(measured, [Known("one", "155", "156")])) == 1
        assert opened(measured) == []


class TestComparison:
    def test_medians_have_intervals_and_differences_are_tested(self) -> None:
        rows = compare([
            series(_plain(1, (20.0, 80)), "firefox"), series(_plain(2, (10.0, 80)), "chromium"),
            series(_plain(3, (10.05, 80)) ** 1.0, "webkitgtk"), series([9.0] * 4, "edge"),
        ])  # fmt: skip
        by_browser = {row.arm.browser: row for row in rows}
        assert by_browser["firefox"].verdict == "slower"
        assert by_browser["edge"].verdict == "too few samples"
        assert {by_browser["chromium"].verdict, by_browser["webkitgtk"].verdict} <= {
            "fastest", "equivalent", "undecided",
        }  # fmt: skip
        firefox = by_browser["firefox"]
        assert firefox.low_ms is not None
        assert firefox.high_ms is not None
        assert firefox.low_ms < 20 < firefox.high_ms

    def test_equals_are_said_to_be(self) -> None:
        rows = compare([
            series(_plain(1, (10.0, 500)), "firefox"), series(_plain(2, (10.0, 500)), "chromium"),
        ])  # fmt: skip
        assert [row.verdict for row in rows] == ["fastest", "equivalent"]

    def test_different_work_is_refused(self) -> None:
        with pytest.raises(ValueError, match="same work"):
            compare([series([1.0] * 9), series([1.0] * 9, work=Work("text", "bert"))])
