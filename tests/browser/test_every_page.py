"""Every page that the server has, on a phone, light and dark: as wide as the screen, read by all."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from selenium import webdriver

from browsers.models import BackendProof, Incident, PoolAction, PoolEvent
from inference import auth
from inference.catalog import registry
from inference.core.comparisons.cells import CellState
from inference.models import (
    Attempt,
    AuditEntry,
    Comparison,
    ComparisonCell,
    OnnxModel,
    Outcome,
    Run,
    RunState,
)
from tests.support import decoders
from tests.support.accessibility import violations
from tests.support.batches import chain_model, new_job
from tests.support.comparisons import comparison_row
from tests.support.every_page import addresses, routes
from tests.support.ledger import make_run

pytestmark = pytest.mark.django_db(transaction=True)
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture
def known(model: OnnxModel, tmp_path: Path) -> dict[str, list[str]]:
    """A row in every table; returns the pages of routes that take more than a row's key."""
    run = Run.objects.get(model=model)
    now = timezone.now()
    for outcome, error in (
        (Outcome.FAILED, "no kernel for MatMul: " + 60 * "long"),
        (Outcome.SUCCEEDED, ""),
    ):
        Attempt.objects.create(
            shard=run.shards.all()[0], number=1, outcome=outcome, browser="firefox", error=error,
            backend="wasm", nodes={"CPUExecutionProvider": 7}, compute_ms=5.0, started_at=now,
            finished_at=now,
        )  # fmt: skip
    ended = [(RunState.SUCCEEDED, 1), (RunState.SUCCEEDED, 9), (RunState.FAILED, 3)]
    for state, seconds in ended:
        at = now - timedelta(minutes=seconds)
        other = make_run()
        Run.objects.filter(pk=other.pk).update(state=state, created_at=at, finished_at=now)
    for helped in (True, False, None):
        Incident.objects.create(
            browser_id="firefox", category="browser_crash", message=f"it died {60 * 'long'}", rung="restart",
            repaired=helped,
        )  # fmt: skip
    PoolEvent.objects.create(
        action=PoolAction.GREW, browser="firefox", kind="firefox", reason="much work", browsers=3,
        memory_used_percent=40.0,
    )  # fmt: skip
    BackendProof.objects.create(
        sha256=model.sha256, kind="firefox", version="157", runtime="r", host="h", backend="webgpu",
        verdict="wrong", reason="t1 differs by 0.5",
    )  # fmt: skip
    AuditEntry.objects.create(
        door="admin", who="viewer", action="drain", target="browser firefox", done=True
    )
    auth.create_key("somebody")
    Group.objects.create(name="operators")
    files = decoders.write(tmp_path)
    registry.add_model(files.onnx, name="writer", tokenizer=files.tokenizer)
    picture = make_run().model
    port = {"name": "pixels", "dtype": "float32", "shape": ["batch", 3, 224, 224]}
    OnnxModel.objects.filter(pk=picture.pk).update(
        inputs=[port], expectations={"examples": ["an example"]}
    )
    new_job(chain_model(tmp_path, "chained"), tmp_path)
    comparison = _compared(model)
    return {
        "admin/compare/<str:name>/": [f"/admin/compare/{model.name}/", "/admin/compare/writer/"],
        "admin/try/<str:name>/": [f"/admin/try/{one}/" for one in (model.name, picture.name, "writer")],
        "admin/login/": ["/admin/login/"],
        "admin/<str:app_label>/": [
            "/admin/inference/", "/admin/auth/"
        ],
        "admin/(?P<url>.*)$": ["/admin/nothing-here/"],
        "admin/pictures/latency/": [f"/admin/pictures/latency/?model={model.name}"],
        "": ["/", "/no-such-page/", f"/api/comparisons/{comparison.pk}/?format=html"],
        "admin/auth/user/<id>/password/": ["/admin/auth/user/1/password/"],
    }  # fmt: skip


def _compared(model: OnnxModel) -> Comparison:
    """One that ended, a cell of each outcome, the same once before."""
    for _ in range(2):
        made = comparison_row(model, owner="viewer")
        told = "no kernel for MatMul: " + 60 * "long"
        states = [CellState.MEASURED, CellState.WRONG, CellState.FAILED, CellState.UNTRIED]
        for at, state in enumerate(states, 1):
            ComparisonCell.objects.create(
                comparison=made, index=at, browser=f"b{at}", kind="b", version="1",
                backend="webgpu", strategy="none", state=state, reason="" if at == 1 else told,
                samples=[1.0, 2.0, 3.0] if at < 3 else [],
                nodes={"WebGpuExecutionProvider": 3} if at < 3 else {},
            )  # fmt: skip
        Comparison.objects.filter(pk=made.pk).update(
            state="finished", ended_at=timezone.now(), turn_cell=None
        )
    return made


def shown(paths: list[str]) -> list[str]:
    """Those that show something of their own: one of all that are refused, one history, one deletion."""
    viewer = Client(headers={"host": "localhost"})
    viewer.force_login(get_user_model().objects.get(username="viewer"))
    kept: dict[str, str] = {}
    for path in paths:
        status = viewer.get(path).status_code
        assert status in (200, 302, 403, 404), f"{path}: {status}"
        alike = re.search(r"/(history|delete)/$", path)
        kind = "refused" if status == 403 else alike[1] if alike else path
        if status != 302:
            kept.setdefault(kind, path)
    return list(kept.values())


def test_every_page_fits_a_phone_and_can_be_read_by_all(
    visit: Any, known: dict[str, list[str]], request: pytest.FixtureRequest
) -> None:
    page: webdriver.Chrome = visit("about:blank", local=False)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    request.addfinalizer(lambda: page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {}))
    wrong: list[str] = []
    for path in shown([path for route in routes() for path in addresses(route, known)]):
        wear(page, "light")
        visit(path)
        wide = page.execute_script("return document.documentElement.scrollWidth")
        wrong += [f"{path} is {wide} px wide"] if wide > PHONE["width"] else []
        wrong += [f"{path}: {one}" for one in violations(page)]
        wear(page, "dark")
        wrong += [f"{path}, dark: {one}" for one in violations(page, rules=["color-contrast"])]
        wrong += [f"{path}: {one}" for one in complaints(page)]
    assert wrong == [], "\n".join(wrong)


def wear(page: webdriver.Chrome, scheme: str) -> None:
    """Both ways in which pages know: the system's wish, and the admin's switch."""
    wish = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [wish]})
    switch = "document.documentElement.classList.toggle('dark', arguments[0])"
    page.execute_script(switch, scheme == "dark")


def complaints(page: webdriver.Chrome) -> list[str]:
    """What stands in the console; that a page is refused or missing is no mistake of it."""
    found = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    return [one for one in found if not re.search(r"status of 40[34]|favicon\.ico", one)]
