"""The audit log: who did what by which door, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from browsers.models import BackendProof, Browser, BrowserState
from inference.auth import create_key
from inference.models import ApiKey, AuditEntry, Entrance, OnnxModel
from inference.store import audit
from tests.support.ledger import make_run, publish


@pytest.fixture
def pool(clean: None) -> Iterator[None]:
    """Two browsers that are ready; the log is empty before and after."""
    AuditEntry.objects.all().delete()
    for browser_id in ("a", "b"):
        Browser.objects.create(
            id=browser_id, kind=browser_id, family=browser_id, state=BrowserState.READY
        )
        publish(browser_id)
    yield
    AuditEntry.objects.all().delete()


@pytest.fixture
def keyed(database: None) -> Iterator[Client]:
    row, key = create_key("robot")
    yield Client(headers={"host": "localhost", "authorization": f"Bearer {key}"})
    row.delete()


def entries() -> list[tuple[str, str, str, str, bool]]:
    rows = AuditEntry.objects.order_by("pk")
    return [(row.who, row.door, row.action, row.target, row.done) for row in rows]


def test_buttons_of_the_live_page_are_told_with_their_result(staff: Client, pool: None) -> None:
    for action in ("drain", "release", "reset"):
        staff.post("/admin/pool/a/", {"action": action})
    staff.post("/admin/pool/nobody/", {"action": "restart"})
    assert entries() == [
        ("operator", "admin", "drain", "browser a", True),
        ("operator", "admin", "release", "browser a", True),
        ("operator", "admin", "reset breakers", "browser a", True),
        ("operator", "admin", "restart", "browser nobody", False),
    ]
    drained, *_, refused = AuditEntry.objects.order_by("pk")
    assert "takes no new shards" in drained.detail
    assert "no browser has the id" in refused.detail
    shown = staff.get("/admin/inference/auditentry/").content.decode()
    assert "takes no new shards" in shown
    assert "not done" in shown


def test_rest_tells_the_name_of_the_key(keyed: Client, pool: None) -> None:
    run = make_run()
    assert keyed.post("/api/browsers/a/drain/", content_type="application/json").status_code == 200
    assert (
        keyed.post("/api/browsers/a/undrain/", content_type="application/json").status_code == 200
    )
    assert (
        keyed.post("/api/browsers/a/breaker/reset/", content_type="application/json").status_code
        == 200
    )
    assert (
        keyed.post(f"/api/runs/{run.pk}/cancel/", content_type="application/json").status_code
        == 200
    )
    again = keyed.delete(f"/api/models/{run.model.name}/").status_code
    assert again == 204
    assert entries() == [
        ("key robot", "rest", "drain", "browser a", True),
        ("key robot", "rest", "release", "browser a", True),
        ("key robot", "rest", "reset breakers", "browser a", True),
        ("key robot", "rest", "cancel", f"run {run.pk}", True),
        ("key robot", "rest", "delete", f"model {run.model.name}", True),
    ]


def test_a_model_in_use_is_not_deleted_and_the_log_says_so(staff: Client, pool: None) -> None:
    model = make_run().model
    staff.post(f"/admin/inference/onnxmodel/{model.pk}/delete/", {"post": "yes"})
    assert OnnxModel.objects.filter(pk=model.pk).exists()
    ((who, door, action, _, done),) = entries()
    assert (who, door, action, done) == ("operator", "admin", "delete", False)


def test_commands_tell_the_user_of_the_machine(pool: None) -> None:
    told = StringIO()
    call_command("drain", "a", stdout=told, stderr=told)
    assert "no browser takes shards now" not in told.getvalue()
    call_command("drain", "b", stdout=told, stderr=told)
    assert "no browser takes shards now" in told.getvalue()
    call_command("drain", "a", "--undo", stdout=told)
    with pytest.raises(CommandError):
        call_command("drain", "nobody", stdout=told)
    call_command("browsers", "b", "--release", stdout=told)
    call_command("create_api_key", "from-a-command", stdout=told)
    call_command("api_keys", "--revoke", "from-a-command", stdout=told)
    ApiKey.objects.get(name="from-a-command").delete()
    me = audit.machine_user()
    assert entries() == [
        (me, "command", "drain", "browser a", True),
        (me, "command", "drain", "browser b", True),
        (me, "command", "release", "browser a", True),
        (me, "command", "drain", "browser nobody", False),
        (me, "command", "release", "browser b", True),
        (me, "command", "add", "API key from-a-command", True),
        (me, "command", "revoke", "API key from-a-command", True),
    ]


def test_keys_schedules_and_proofs_of_the_admin_are_told(staff: Client, pool: None) -> None:
    staff.post("/admin/inference/apikey/add/", {"name": "made", "active": "on"})
    key = ApiKey.objects.get(name="made")
    staff.post(f"/admin/inference/apikey/{key.pk}/change/", {"name": "made"})
    staff.post(f"/admin/inference/apikey/{key.pk}/delete/", {"post": "yes"})
    every_hour, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
    task = PeriodicTask.objects.create(name="told of", task="a.b", interval=every_hour)
    schedules = "/admin/django_celery_beat/periodictask/"
    for action in ("disable_tasks", "enable_tasks"):
        staff.post(schedules, {"action": action, "_selected_action": [task.pk]})
    proof = BackendProof.objects.create(
        sha256="ab" * 32,
        kind="a",
        version="1",
        runtime="r",
        host="h",
        backend="webgpu",
        verdict="wrong",
    )
    deletes = {"action": "delete_selected", "_selected_action": [proof.pk], "post": "yes"}
    staff.post("/admin/browsers/backendproof/", deletes)
    assert not BackendProof.objects.filter(pk=proof.pk).exists()
    task.refresh_from_db()
    assert task.enabled
    task.delete()
    assert [(action, target) for _, _, action, target, _ in entries()] == [
        ("add", f"api key {key}"),
        ("change", f"api key {key}"),
        ("delete", f"api key {key}"),
        ("disable", "periodic task told of"),
        ("enable", "periodic task told of"),
        ("delete", f"backend proof {proof}"),
    ]


def test_a_task_that_is_not_here_was_not_run(staff: Client, pool: None) -> None:
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
    task = PeriodicTask.objects.create(name="of nobody", task="no.such.task", interval=interval)
    asked = {"action": "run_tasks", "_selected_action": [task.pk]}
    page = staff.post("/admin/django_celery_beat/periodictask/", asked, follow=True)
    task.delete()
    assert "not found" in page.content.decode()
    assert entries() == [("operator", "admin", "run now", "periodic task of nobody", False)]


def test_nobody_edits_the_log(staff: Client, pool: None) -> None:
    staff.post("/admin/pool/a/", {"action": "reset"})
    row = AuditEntry.objects.get()
    assert staff.get("/admin/inference/auditentry/add/").status_code == 403
    assert (
        staff.post(f"/admin/inference/auditentry/{row.pk}/delete/", {"post": "yes"}).status_code
        == 403
    )
    assert AuditEntry.objects.filter(pk=row.pk).exists()


def test_what_no_row_can_hold_is_spelt_out(pool: None) -> None:
    with pytest.raises(ValueError), audit.acting(Entrance.REST, "me", "add", "a\0b"):
        raise ValueError("\ud800 is no text")
    row = AuditEntry.objects.get()
    assert (row.target, row.detail, row.done) == ("a\\0b", "\\ud800 is no text", False)


def test_old_entries_are_forgotten(pool: None) -> None:
    for index in range(5):
        audit.record("command", "me", "drain", str(index))  # type: ignore[arg-type]
    now = timezone.now()
    AuditEntry.objects.filter(target="0").update(at=now - audit.KEPT - timedelta(days=1))
    assert audit.forget_old_entries(now) == 1
    assert audit.forget_old_entries(now) == 0
    assert [row.target for row in AuditEntry.objects.all()] == ["4", "3", "2", "1"]


def test_nobodys_many_actions_push_anothers_out(pool: None, monkeypatch: Any) -> None:
    for who in ("operator", *["key:loop"] * 5, "operator"):
        audit.record(Entrance.REST, who, "cancel", f"run {AuditEntry.objects.count()}")
    monkeypatch.setattr(audit, "MOST_OF_ONE", 2)
    assert audit.forget_old_entries(timezone.now()) == 3
    assert [(row.who, row.target) for row in AuditEntry.objects.all()] == [
        ("operator", "run 6"),
        ("key:loop", "run 5"),
        ("key:loop", "run 4"),
        ("operator", "run 0"),
    ]
