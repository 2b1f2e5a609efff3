"""The live page: what it shows, what its buttons do to the ledger and the queues, and who may press them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from browsers.models import Browser, BrowserState, Incident
from browsers.redis import client
from inference.ledger.claims import claim
from inference.models import OnnxModel, Run, RunStep, StepState
from inference.scheduling.pool_view import snapshot
from tests.support.ledger import make_run, publish

PAGE = "/admin/pool/"


@pytest.fixture
def run(database: None, valkey: Any) -> Iterator[Run]:
    """Browsers a and b are ready; a run of two shards waits for the first on one of them."""
    client().flushall()
    Run.objects.all().delete()
    Browser.objects.all().delete()
    for browser_id in ("a", "b"):
        Browser.objects.create(
            id=browser_id, kind=browser_id, family=browser_id, state=BrowserState.READY
        )
        publish(browser_id, memory_mb=950.0 if browser_id == "a" else None)
    Browser.objects.filter(pk="a").update(memory_limit_mb=1000.0)
    made = make_run()
    yield made
    Browser.objects.all().delete()
    OnnxModel.objects.filter(pk=made.model_id).delete()
    client().flushall()


def cell(page: str, cell_id: str) -> str:
    """The words of one live cell."""
    found = re.search(rf'<td id="{cell_id}"[^>]* data-live>(.*?)</td>', page, re.DOTALL)
    assert found, f"{cell_id} is not on the page"
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def act(staff: Client, browser_id: str, action: str) -> str:
    """Press a button and return the page that follows."""
    answer = staff.post(f"{PAGE}{browser_id}/", {"action": action}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_memory_work_and_incidents_and_says_unknown(staff: Client, run: Run) -> None:
    Incident.objects.create(
        browser_id="a", category="device_lost", message="gone", rung="refresh", repaired=True
    )
    page = staff.get(PAGE).content.decode()
    assert cell(page, "b-a-memory").startswith("950 MB of 1,000 MB")
    assert cell(page, "b-b-memory") == "unknown"
    assert cell(page, "b-a-repair").startswith("refresh")
    assert "device_lost" in page
    where = run.shards.get(index=0).browser
    assert cell(page, f"b-{where}-work") == "0, 1"
    assert "<script>" not in staff.get(f"{PAGE}rows/").content.decode(), "no script in the page"


def test_a_drained_browser_takes_nothing_new_and_its_queue_moves(staff: Client, run: Run) -> None:
    shard = run.shards.get(index=0)
    page = act(staff, shard.browser, "drain")
    assert "takes no new shards; 1 that waited for it moved" in page
    moved = RunStep.objects.get(pk=shard.pk)
    assert (moved.state, moved.browser) == (StepState.QUEUED, "b" if shard.browser == "a" else "a")
    states = {view.id: view.state for view in snapshot()}
    assert states[shard.browser] == "draining"
    assert "asked for by operator" in cell(page, f"b-{shard.browser}-state")
    assert f"{shard.browser} takes shards again" in act(staff, shard.browser, "release")
    assert {view.state for view in snapshot()} == {"ready"}


def test_a_quarantined_browser_loses_even_what_it_computes(staff: Client, run: Run) -> None:
    shard = run.shards.get(index=0)
    assert claim(shard.pk, shard.fence, timezone.now()) is not None
    page = act(staff, shard.browser, "quarantine")
    assert "1 shards were taken from it" in page
    assert cell(page, f"b-{shard.browser}-state").startswith("quarantined")
    moved = RunStep.objects.get(pk=shard.pk)
    assert moved.browser not in ("", shard.browser)
    assert moved.fence > shard.fence, "what it still computes comes too late"
    act(staff, shard.browser, "release")
    assert {view.state for view in snapshot()} == {"ready"}


def test_a_restart_is_a_message_in_that_browsers_queue_alone(staff: Client, run: Run) -> None:
    assert "restarts as soon as it is done" in act(staff, "b", "restart")
    assert client().llen("browser.b") == 1
    assert client().llen("browser.a") == 0


def test_nonsense_and_strangers_are_refused(staff: Client, run: Run) -> None:
    assert "no browser has the id" in act(staff, "nobody", "drain")
    assert staff.post(f"{PAGE}a/", {"action": "explode"}).status_code == 400
    stranger = Client(headers={"host": "localhost"})
    assert stranger.get(PAGE).status_code == 302
    assert stranger.post(f"{PAGE}a/", {"action": "drain"}).status_code == 302
    reader = get_user_model().objects.create_user("reader", password="x", is_staff=True)
    stranger.force_login(reader)
    assert stranger.get(PAGE).status_code == 200
    assert stranger.post(f"{PAGE}a/", {"action": "drain"}).status_code == 403
    reader.delete()
    assert not Browser.objects.filter(drained_at__isnull=False).exists()


def alarm(page: str) -> str:
    """The words of the banner; "" while it is hidden."""
    found = re.search(r'<div id="pool-banner"[^>]*?( hidden)?>(.*?)</div>', page, re.DOTALL)
    assert found, "there is no banner on the page"
    return "" if found[1] else found[2]


def test_the_last_browser_is_not_taken_away_without_being_asked(staff: Client, run: Run) -> None:
    act(staff, "a", "drain")
    assert alarm(staff.get(PAGE).content.decode()) == ""
    asked = act(staff, "b", "quarantine")
    assert "b is the only browser that takes work" in asked
    assert "1 active run will stand still" in asked
    assert {view.state for view in snapshot() if view.id == "b"} == {"ready"}, "nothing is done yet"
    confirmed = {"action": "quarantine", "confirmed": "yes"}
    page = staff.post(f"{PAGE}b/", confirmed, follow=True).content.decode()
    assert "No browser takes work (1 draining, 1 quarantined)" in alarm(page)
    for path in ("/admin/", "/admin/inference/run/", "/admin/pictures/scores/", f"{PAGE}rows/"):
        assert "No browser takes work" in alarm(staff.get(path).content.decode()), path
    act(staff, "b", "release")
    assert alarm(staff.get("/admin/").content.decode()) == ""


def test_a_silent_browser_is_not_shown_as_ready(staff: Client, run: Run) -> None:
    client().delete("webpool:browser:a", "webpool:browser:b")
    page = staff.get(PAGE).content.decode()
    assert cell(page, "b-a-state") == "down"
    assert "No browser takes work (2 down)" in alarm(page)
    listed = staff.get("/admin/browsers/browser/").content.decode()
    assert "down" in listed
    assert "does not renew itself" in listed
