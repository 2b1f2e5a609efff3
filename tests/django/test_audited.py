"""Whatever changes something is in the audit log, or is listed here with the reason; what is new fails."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib import admin
from django.core.management import call_command, get_commands, load_command_class
from django.test import Client

from browsers.models import Browser, BrowserState
from inference.admin.audit import Audited
from inference.models import AuditEntry, Comparison, ComparisonState, Run
from inference.models.batches import BatchJob
from inference.zoo import micro
from tests.django.test_every_door import TABLES
from tests.django.test_permissions import WRITES
from tests.support.people import by_key

_HAS_A_ROW: Final = "its row says who started it, and when"
_ANSWERS: Final = "answers a question, changes nothing"
# Of what may change something at REST: the action that is written down, or why none is.
AT_REST: Final = {
    ("POST", "api/browsers/*/drain/"): "drain",
    ("POST", "api/browsers/*/undrain/"): "release",
    ("POST", "api/browsers/*/breaker/reset/"): "reset breakers",
    ("POST", "api/models/"): "add",
    ("POST", "api/plans/"): "cut",
    ("POST", "api/runs/*/cancel/"): "cancel",
    ("POST", "api/batches/*/cancel/"): "cancel",
    ("POST", "api/batches/*/resume/"): "resume",
    ("POST", "api/comparisons/*/cancel/"): "cancel",
    ("DELETE", "api/comparisons/*/"): "delete",
    ("DELETE", "api/models/*/"): "delete",
}
NOT_AT_REST: Final = {
    ("POST", "api/models/*/try/"): _HAS_A_ROW,
    ("POST", "api/runs/"): _HAS_A_ROW,
    ("POST", "api/batches/"): _HAS_A_ROW,
    ("POST", "api/comparisons/"): _HAS_A_ROW,
    ("POST", "api/history/anomalies/judge/"): _ANSWERS,
}
# What each command is asked, and the action that is written down; `@` is replaced by what the world has.
BY_COMMAND: Final = {
    "add_model": (["@file", "--name", "told"], "add"),
    "api_keys": (["--revoke", "told"], "revoke"),
    "browsers": (["a", "--reset-breakers"], "reset breakers"),
    "create_api_key": (["told"], "add"),
    "drain": (["a"], "drain"),
    "history": (["--recompute"], "recompute"),
    "import_history": (["@history"], "import"),
    "models": (["told", "--remove"], "delete"),
    "plan": (["@models", "--shards", "2"], "cut"),
    "runs": (["@runs", "--cancel"], "cancel"),
}
# They wait for browsers, or take long: that their source tells is all that is asked here.
SLOW_COMMANDS: Final = ("add_sample", "run_batch", "validate_faults")
NOT_BY_COMMAND: Final = {
    **dict.fromkeys(("anomalies", "doctor", "recommend", "regressions", "regret", "telemetry"), _ANSWERS),
    **dict.fromkeys(("completion", "export_history"), "writes what is known elsewhere"),
    **dict.fromkeys(("compare", "generate", "infer"), _HAS_A_ROW),
    **dict.fromkeys(("bench", "demo", "fire"), "does it all to a pool of its own"),
    "setup": "installs, and has the first user written down (webpool_site/setup/admin_user.py)",
    "up": "starts the pool; the supervisor's own log tells it",
}  # fmt: skip


@pytest.fixture
def told(world: dict[str, str], tmp_path: Path, settings: Any) -> Iterator[dict[str, str]]:
    """The world, and files for what takes one; the log is empty before and after."""
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history.duckdb"
    Browser.objects.update(state=BrowserState.READY)
    sample = {
        "timestamp": "2026-01-01T00:00:00", "browser": "chromium", "model_type": "text",
        "model_name": "m", "success": True, "latency_ms": 1.5,
    }  # fmt: skip
    (tmp_path / "samples.json").write_text(json.dumps([sample]))
    AuditEntry.objects.all().delete()
    file = micro.chain(tmp_path / "told.onnx", layers=2)
    yield world | {"file": str(file), "history": str(tmp_path / "samples.json")}
    AuditEntry.objects.all().delete()


def last() -> tuple[str, bool]:
    """Action and outcome of the one entry that there is now; it is taken away."""
    (row,) = AuditEntry.objects.all()
    row.delete()
    return row.action, row.done


def test_every_endpoint_that_changes_something_is_told_of(told: dict[str, str]) -> None:
    assert AT_REST.keys() | NOT_AT_REST.keys() == WRITES.keys()
    caller = by_key("ci")
    for (method, path), action in AT_REST.items():
        kind = path.removeprefix("api/").partition("/")[0]
        if (kind, method) == ("comparisons", "DELETE"):
            Comparison.objects.update(state=ComparisonState.CANCELLED)
        if (kind, method) == ("models", "DELETE"):
            Run.objects.all().delete()
            BatchJob.objects.all().delete()
        answer = _sent(caller, method, "/" + path.replace("*", told.get(kind, "")), told)
        assert answer.status_code in (200, 201, 202, 204), (path, answer.content)
        assert last() == (action, True), path


def _sent(caller: Client, method: str, address: str, told: dict[str, str]) -> Any:
    if address == "/api/models/":
        with Path(told["file"]).open("rb") as file:
            return caller.post(address, {"name": "by-rest", "file": file})
    asked = {"model": told["models"], "strategy": "layer", "shards": 2}
    body = json.dumps(asked if address == "/api/plans/" else {})
    return caller.generic(method, address, body, "application/json")


def test_a_plan_that_was_there_already_is_no_deed(told: dict[str, str]) -> None:
    caller = by_key("ci")
    for _ in range(2):
        assert _sent(caller, "POST", "/api/plans/", told).status_code == 200
    assert last() == ("cut", True)


def test_every_command_that_changes_something_is_told_of(told: dict[str, str]) -> None:
    ours = {
        name
        for name, app in get_commands().items()
        if str(app) in ("history", "browsers", "inference", "webpool_site")
    }
    assert BY_COMMAND.keys() | NOT_BY_COMMAND.keys() | set(SLOW_COMMANDS) == ours
    order = sorted(BY_COMMAND, key=lambda name: (name != "create_api_key", name))
    for name in order:
        words, action = BY_COMMAND[name]
        given = [told[word[1:]] if word.startswith("@") else word for word in words]
        call_command(name, *given, stdout=StringIO(), stderr=StringIO())
        assert last() == (action, True), name


@pytest.mark.parametrize("name", SLOW_COMMANDS)
def test_a_slow_command_tells(name: str) -> None:
    command = load_command_class(str(get_commands()[name]), name)
    module = inspect.getmodule(type(command))
    assert module is not None and re.search(r"with \w+\.acting\(", inspect.getsource(module))


def test_a_command_of_history_that_fails_is_told_of(told: dict[str, str]) -> None:
    Path(told["history"]).write_text("[null]")
    with pytest.raises(Exception, match="expected objects"):
        call_command("import_history", told["history"], stdout=StringIO(), stderr=StringIO())
    assert last() == ("import", False)


def test_every_table_that_people_change_tells_of_it() -> None:
    for model, page in admin.site._registry.items():
        if set(TABLES[model._meta.label_lower].split()) != {"view"}:
            assert isinstance(page, Audited), model
