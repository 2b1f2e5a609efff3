"""Commands that list, show and change what is there."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from browsers.models import Browser, BrowserState
from inference.auth import create_key
from inference.models import ApiKey, OnnxModel, Run, RunState
from inference.store.audit import machine_user
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


def said(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def refusal(*words: str) -> str:
    with pytest.raises(CommandError) as raised:
        said(*words)
    assert raised.value.returncode == 2
    return str(raised.value)


def test_models_are_listed_shown_and_removed() -> None:
    run = make_run()
    name = run.model.name
    assert name in said("models")
    (listed,) = [row for row in json.loads(said("models", "--json")) if row["name"] == name]
    assert listed["max_shards"] == 2
    assert "summary" in json.loads(said("models", name))
    assert "active" in refusal("models", name, "--remove")
    said("runs", str(run.pk), "--cancel")
    assert "was removed" in said("models", name, "--remove")
    assert not OnnxModel.objects.filter(name=name).exists()
    assert "no model named" in refusal("models", name)
    assert "expected the name" in refusal("models", "--remove")


def test_runs_are_listed_shown_and_cancelled() -> None:
    run = make_run()
    assert str(run.pk) in said("runs")
    assert "no such runs" in said("runs", "--state", "failed")
    assert [row["id"] for row in json.loads(said("runs", "--json"))] == [str(run.pk)]
    assert json.loads(said("runs", str(run.pk)))["state"] == "running"
    assert "was cancelled" in said("runs", str(run.pk), "--cancel")
    assert Run.objects.get(pk=run.pk).state == RunState.CANCELLED
    assert "has cancelled already" in refusal("runs", str(run.pk), "--cancel")
    assert "no run" in refusal("runs", "00000000-0000-0000-0000-000000000000")
    assert "at least 1" in refusal("runs", "--limit", "0")


def test_browsers_are_listed_held_back_and_let_in_again() -> None:
    assert "no browser yet" in said("browsers")
    Browser.objects.create(
        id="firefox",
        kind="firefox",
        family="firefox",
        state=BrowserState.READY,
        memory_limit_mb=1.0,
    )
    publish("firefox")
    assert "ready" in said("browsers")
    told: dict[str, Any] = json.loads(said("browsers", "firefox"))
    assert told["live"]["state"] == "ready"
    assert "is quarantined" in said("browsers", "firefox", "--quarantine")
    assert machine_user() in Browser.objects.get().drain_reason
    assert "takes work again" in said("browsers", "firefox", "--release")
    assert "was not held back" in said("browsers", "firefox", "--release")
    assert "are closed" in said("browsers", "firefox", "--reset-breakers")
    assert "lynx" in refusal("browsers", "lynx", "--quarantine")
    assert "expected the id" in refusal("browsers", "--release")


def test_keys_are_listed_and_revoked() -> None:
    ApiKey.objects.all().delete()
    assert "no API keys" in said("api_keys")
    create_key("ci", user=None, requests_per_minute=5)
    assert json.loads(said("api_keys", "--json"))[0]["requests_per_minute"] == 5
    assert "let in no more" in said("api_keys", "--revoke", "ci")
    assert not ApiKey.objects.get(name="ci").active
    assert "no API key is named" in refusal("api_keys", "--revoke", "nosuch")
