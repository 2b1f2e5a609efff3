"""Who may do what: every endpoint of REST, found from the address space, with every kind of caller."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern
from django_celery_beat.models import PeriodicTask

from inference import auth, urls
from inference.models import Comparison, Run
from inference.models.batches import BatchJob, JobState
from tests.support.people import by_key, logged_in, staff, stranger

# What a caller needs beyond being let in, for everything that may change something.
WRITES = {
    ("POST", "api/browsers/*/drain/"): "browsers.change_browser",
    ("POST", "api/browsers/*/undrain/"): "browsers.change_browser",
    ("POST", "api/browsers/*/breaker/reset/"): "browsers.change_browser",
    ("POST", "api/models/"): "inference.add_onnxmodel",
    ("DELETE", "api/models/*/"): "inference.delete_onnxmodel",
    ("POST", "api/plans/"): "inference.add_plan",
    ("POST", "api/models/*/try/"): "",
    ("POST", "api/runs/"): "",
    ("POST", "api/runs/*/cancel/"): "inference.change_run",
    ("POST", "api/batches/"): "",
    ("POST", "api/batches/*/cancel/"): "inference.change_batchjob",
    ("POST", "api/batches/*/resume/"): "inference.change_batchjob",
    ("POST", "api/comparisons/"): "",
    ("DELETE", "api/comparisons/*/"): "inference.delete_comparison",
    ("POST", "api/comparisons/*/cancel/"): "inference.change_comparison",
    ("POST", "api/history/anomalies/judge/"): "",
}
OWNED = (
    auth.CHANGE_RUN, auth.CHANGE_BATCH_JOB, auth.CHANGE_COMPARISON, auth.DELETE_COMPARISON
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def views() -> dict[str, Any]:
    """Path (`*` for what a caller names) to the view's class; the last pattern, which takes all, left out."""
    found = {}
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        path = re.sub(r"<[^>]+>", "*", str(pattern.pattern))
        if not path.startswith("^"):
            found[path] = getattr(pattern.callback, "cls", None)
    return found


def test_each_endpoint_that_may_change_something_has_a_rule() -> None:
    offered = {
        (method, path): view.rules.get(method)
        for path, view in views().items()
        if view is not None
        for method in METHODS
        if method != "GET" and hasattr(view, method.lower())
    }
    assert offered.keys() == WRITES.keys(), "a new endpoint needs a rule, here and in its view"
    for endpoint, rule in offered.items():
        asked = WRITES[endpoint]
        assert rule == (auth.OWNER if asked in OWNED else asked)


def statuses(caller: Client, world: dict[str, str]) -> dict[tuple[str, str], int]:
    """What each endpoint answers; a model is deleted last, for what names it to be there."""
    found = {}
    endpoints = [(m, p) for p, v in views().items() if v for m in METHODS if hasattr(v, m.lower())]
    for method, path in sorted(endpoints, key=lambda one: one[0] == "DELETE"):
        kind = path.removeprefix("api/").partition("/")[0]
        address = "/" + path.replace("*", world.get(kind, "a"))
        answer = caller.generic(method, address, b"{}", "application/json")
        found[method, path] = answer.status_code
    return found


READERS = (
    "inference.view_onnxmodel",
    "browsers.view_browser",
    "django_celery_beat.view_periodictask",
)


def test_a_stranger_is_asked_who_they_are(world: dict[str, str]) -> None:
    assert set(statuses(stranger(), world).values()) == {401}


@pytest.mark.parametrize("role", ["user", "view-only staff", "key of view-only staff"])
def test_who_has_no_permission_reads_and_starts_only(world: dict[str, str], role: str) -> None:
    user = staff("ann", *(READERS if "staff" in role else ()))
    if role == "user":
        User.objects.update(is_staff=False)
        user.refresh_from_db()
    caller = by_key("ann's", user) if "key" in role else logged_in(user)
    for endpoint, status in statuses(caller, world).items():
        assert (status == 403) == bool(WRITES.get(endpoint)), (endpoint, status)
        assert status not in (401, 500)


def test_each_permission_opens_what_it_names(world: dict[str, str]) -> None:
    asked = sorted(set(WRITES.values()) - {"", auth.DELETE_COMPARISON})
    # Last: of what is gone nobody can say whose it was.
    for number, permission in enumerate([*asked, auth.DELETE_COMPARISON]):
        caller = logged_in(staff(f"ann{number}", permission))
        for endpoint, status in statuses(caller, world).items():
            needed = WRITES.get(endpoint, "")
            assert (status == 403) == (needed not in ("", permission)), (endpoint, status)


@pytest.mark.parametrize("role", ["superuser", "key of nobody in particular"])
def test_who_may_everything(world: dict[str, str], role: str) -> None:
    caller = logged_in(staff("root", is_superuser=True)) if role == "superuser" else by_key("ci")
    assert not {401, 403, 500} & set(statuses(caller, world).values())


def test_owners_steer_their_own(world: dict[str, str]) -> None:
    caller = logged_in(staff("ann"))
    Run.objects.update(owner="ann")
    BatchJob.objects.update(owner="ann")
    Comparison.objects.update(owner="ann")
    found = statuses(caller, world)
    assert found["POST", "api/runs/*/cancel/"] == 200
    assert found["POST", "api/batches/*/cancel/"] == 200
    assert found["POST", "api/comparisons/*/cancel/"] == 200


def test_actions_of_the_admin_ask_for_permissions(world: dict[str, str]) -> None:
    readers = (*READERS, "inference.view_batchjob")
    reader = logged_in(staff("reader", *readers))
    changer = logged_in(
        staff(
            "changer", *readers, "inference.change_batchjob", "browsers.change_browser",
            "django_celery_beat.change_periodictask",
        )
    )  # fmt: skip
    task = PeriodicTask.objects.first()
    assert task is not None

    def act(caller: Client) -> int:
        chosen = {"action": "cancel", "_selected_action": world["batches"]}
        caller.post("/admin/inference/batchjob/", chosen)
        chosen = {"action": "disable_tasks", "_selected_action": task.pk}
        caller.post("/admin/django_celery_beat/periodictask/", chosen)
        return caller.post("/admin/pool/a/", {"action": "reset"}).status_code

    try:
        assert act(reader) == 403
        assert BatchJob.objects.get().state == JobState.RUNNING
        task.refresh_from_db()
        assert task.enabled
        assert act(changer) == 302
        assert BatchJob.objects.get().state == JobState.CANCELLED
        task.refresh_from_db()
        assert not task.enabled
    finally:
        PeriodicTask.objects.filter(pk=task.pk).update(enabled=True)
