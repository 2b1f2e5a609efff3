"""Every form and action of the admin, sent by all kinds of people: who may is told of, others are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from browsers.models import BackendProof
from inference.models import AuditEntry, Comparison
from tests.django.test_every_door import STARTED, TABLES
from tests.support.admin_deeds import TASK, Deed, deeds, prepare
from tests.support.people import logged_in, staff, stranger


@pytest.fixture
def people(world: dict[str, str]) -> Iterator[dict[str, Client]]:
    AuditEntry.objects.all().delete()
    views = [table.replace(".", ".view_") for table in TABLES]
    yield {
        "a stranger": stranger(),
        "staff without permissions": logged_in(staff("bob")),
        "view-only staff": logged_in(staff("eve", *views)),
    }
    for rows in (AuditEntry, Group, BackendProof):
        rows.objects.all().delete()
    PeriodicTask.objects.filter(task=TASK["task"]).exclude(name="Forget old runs").delete()
    IntervalSchedule.objects.filter(period="days").delete()


def rows_of_all() -> dict[str, list[Any]]:
    """What stands in every table that the admin shows, but for the log."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in admin.site._registry
        if model is not AuditEntry
    }


def test_all_that_the_admin_offers_is_tried(people: dict[str, Client], tmp_path: Path) -> None:
    tried = {(deed.table, deed.name) for deed in deeds(TABLES, STARTED, tmp_path)}
    request = RequestFactory().get("/")
    request.user = staff("root", is_superuser=True)
    for model, page in admin.site._registry.items():
        offered = {(model._meta.label_lower, name) for name in page.get_actions(request)}
        assert offered <= tried, "who may do it, and who is told of it?"


def test_who_may_not_changes_nothing_and_who_may_is_told_of(
    people: dict[str, Client], tmp_path: Path
) -> None:
    for number, deed in enumerate(deeds(TABLES, STARTED, tmp_path)):
        row, what = prepare(deed, tmp_path), f"{deed.table} {deed.name}"
        before = rows_of_all()
        for who, caller in people.items():
            if not deed.needs and who != "a stranger":
                continue
            answer = caller.post(deed.address(row), deed.form(row))
            assert rows_of_all() == before, f"{who}: {what}"
            assert not AuditEntry.objects.filter(done=True).exists(), f"{who}: {what}"
            refused = answer.status_code == 403 or "/admin/login/" in answer.headers.get(
                "location", ""
            )
            # To whoever looks at a list it is shown again, with the refusal.
            assert refused or (who, deed.page) == ("view-only staff", ""), f"{who}: {what}"
        AuditEntry.objects.all().delete()
        _does(deed, row, f"op{number}", what)


def test_what_all_staff_may_send_is_refused_to_strangers_and_told_of(
    people: dict[str, Client], world: dict[str, str]
) -> None:
    forms = {
        "password_change": {
            "old_password": "before", "new_password1": "long enough 2", "new_password2": "long enough 2",
        },
        f"compare/{world['models']}": {"runs": "1", "browsers": "a", "backends": "wasm"},
    }  # fmt: skip
    person = logged_in(staff("ann", password="before"))
    before = Comparison.objects.count()
    for page, form in forms.items():
        refused = people["a stranger"].post(f"/admin/{page}/", form)
        assert (refused.status_code, refused["location"].split("?")[0]) == (302, "/admin/login/")
        assert (Comparison.objects.count(), AuditEntry.objects.count()) == (before, 0)
    wrong = {**forms["password_change"], "old_password": "a guess"}
    assert person.post("/admin/password_change/", wrong).status_code == 200
    assert not AuditEntry.objects.exists()
    for page, form in forms.items():
        assert person.post(f"/admin/{page}/", form).status_code == 302, page
    told = AuditEntry.objects.order_by("pk").values_list(
        "who", "action", "target", "detail", "done"
    )
    assert list(told) == [
        ("ann", "change", "user ann", "their own password", True),
        ("ann", "compare", f"model {world['models']}", "", True),
    ]
    assert User.objects.get(username="ann").check_password("long enough 2")
    assert Comparison.objects.filter(owner="ann").count() == 1


def _does(deed: Deed, row: Any, name: str, what: str) -> None:
    """Somebody does it who may do that alone."""
    operator = logged_in(staff(name, *deed.needs))
    answer = operator.post(deed.address(row), deed.form(row))
    assert answer.status_code == 302, (what, answer.context and answer.context.get("errors"))
    entries = list(AuditEntry.objects.values_list("who", "door", "action", "done"))
    assert entries == [(name, "admin", deed.told, True)], what
    AuditEntry.objects.all().delete()
