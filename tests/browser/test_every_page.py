"""Every page that the server has, on a phone, light and dark: as wide as the screen, read by all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from selenium import webdriver

from inference.models import OnnxModel, Run
from tests.support.accessibility import violations
from tests.support.every_page import addresses, routes
from tests.support.every_row import make_rows, make_ugly
from tests.support.ledger import make_run

pytestmark = pytest.mark.django_db(transaction=True)
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture
def known(model: OnnxModel, tmp_path: Path) -> dict[str, list[str]]:
    """A row in every table; returns the pages of routes that take more than a row's key."""
    run = Run.objects.get(model=model)
    comparison = make_rows(run, tmp_path, owner="viewer")
    picture = make_run().model
    port = {"name": "pixels", "dtype": "float32", "shape": ["batch", 3, 224, 224]}
    OnnxModel.objects.filter(pk=picture.pk).update(
        inputs=[port], expectations={"examples": ["an example"]}
    )
    make_ugly()
    return {
        "admin/compare/<str:name>/": [f"/admin/compare/{model.name}/", "/admin/compare/writer/"],
        "admin/try/<str:name>/": [f"/admin/try/{one}/" for one in (model.name, picture.name, "writer")],
        "admin/browsers/browser/<path:object_id>/change/": [
            f"/admin/browsers/browser/firefox/change/{tab}" for tab in ("#incidents", "")
        ],
        "admin/inference/run/<path:object_id>/change/": [
            f"/admin/inference/run/{one.pk}/change/" for one in (run, Run.objects.exclude(error="")[0])
        ],
        "admin/login/": ["/admin/login/"],
        "admin/<str:app_label>/": [
            "/admin/inference/", "/admin/auth/"
        ],
        "admin/(?P<url>.*)$": ["/admin/nothing-here/"],
        "admin/pictures/latency/": [f"/admin/pictures/latency/?model={model.name}"],
        "": ["/", "/no-such-page/", f"/api/comparisons/{comparison.pk}/?format=html"],
        "admin/auth/user/<id>/password/": ["/admin/auth/user/1/password/"],
    }  # fmt: skip


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
        page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
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
