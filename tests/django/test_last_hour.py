"""The pictures of the last hour: what is counted in them, and what is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from browsers.models import Browser, Incident
from inference.models import OnnxModel, Run, RunState
from inference.telemetry.last_hour import pictures
from tests.support.ledger import make_run


@pytest.fixture
def hour(clean: None) -> Any:
    """Of the last hour: three runs that succeeded after 1, 2 and 3 s, one that failed; one from before."""
    now = timezone.now()
    ended = [
        (RunState.SUCCEEDED, 30, 1), (RunState.SUCCEEDED, 20, 2), (RunState.SUCCEEDED, 10, 3),
        (RunState.FAILED, 5, 60), (RunState.SUCCEEDED, 70, 500),
    ]  # fmt: skip
    for state, minutes_ago, took_s in ended:
        at = now - timedelta(minutes=minutes_ago)
        run = make_run(shards=1)
        Run.objects.filter(pk=run.pk).update(
            state=state, created_at=at - timedelta(seconds=took_s), finished_at=at
        )
    for browser in ("a", "b"):
        Browser.objects.create(id=browser, kind=browser, family=browser)
    for helped in (True, None):
        Incident.objects.create(
            browser_id="a",
            category="browser_crash",
            message="gone",
            rung="restart",
            repaired=helped,
        )
    yield
    OnnxModel.objects.all().delete()


def test_what_ended_within_the_hour_is_counted_and_timed(hour: None) -> None:
    told = pictures()
    assert told["minutes"] == 60
    assert told["throughput"]["said"] == "3 succeeded, 1 failed"
    assert told["latency"]["said"] == "median 2 s, 95th percentile 3 s"
    assert told["health"]["said"] == "2 incidents, 1 mended"
    assert told["throughput"]["drawing"].count('class="hp-bar"') == 3
    assert told["throughput"]["drawing"].count("hp-bar-bad") == 1
    assert told["latency"]["drawing"].count('class="hp-middle"') == 3
    assert told["health"]["drawing"].count('class="hp-mark-good"') == 1
    assert told["health"]["drawing"].count('class="hp-mark"') == 1
    assert ">b</text>" in told["health"]["drawing"], (
        "a browser without an incident has a strip, too"
    )


def test_nothing_is_drawn_of_nothing(clean: None) -> None:
    told = pictures()
    assert told["throughput"]["said"] == "no run ended"
    assert told["latency"]["said"] == "nothing was measured"
    assert "hp-bar" not in told["throughput"]["drawing"]


def test_with_too_many_runs_less_than_an_hour_is_shown(hour: None) -> None:
    told = pictures(most=2)
    assert told["minutes"] in (10, 11)
    assert told["throughput"]["said"] in ("1 succeeded, 1 failed", "1 failed")


def test_the_first_page_has_them_and_the_rest_folded(staff: Any, hour: None) -> None:
    page = staff.get("/admin/").content.decode()
    assert page.index('id="hour-throughput"') < page.index('id="pool-incidents"')
    assert '<details class="wp-fold" id="everything">' in page
    part = staff.get("/admin/pool/hour/").content.decode()
    assert "3 succeeded, 1 failed" in part and "<script" not in part
