"""No page of the admin shows a number with more digits than anybody reads, nor what only programs write."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from browsers.models import BackendProof, Browser, BrowserState, Incident, PoolEvent
from history.models import BrowserRecommendation, CapabilityScore, Regression
from inference.models import ApiKey, AuditEntry, OnnxModel, Run
from inference.models.batches import BatchJob
from tests.support.every_row import make_history, make_rows, make_ugly
from tests.support.ledger import make_run, publish

_MADE: list[Any] = [
    BatchJob, Run, OnnxModel, Incident, PoolEvent, BackendProof, AuditEntry, ApiKey, Group,
    BrowserRecommendation, CapabilityScore, Regression, Browser,
]  # fmt: skip


@pytest.fixture
def ugly(clean: None, tmp_path: Path) -> Iterator[None]:
    Browser.objects.create(
        id="firefox", kind="firefox", family="firefox", state=BrowserState.READY,
        backends=[{"name": "wasm", "software": None, "probe_ok": True, "probe_ms": 0.5, "error": None}],
    )  # fmt: skip
    publish("firefox")
    make_rows(make_run(), tmp_path, owner="operator")
    make_history()
    make_ugly()
    yield
    for rows in _MADE:
        rows.objects.all().delete()


NO_STRATEGY = r"<a [^>]*strategy[^>]*>\s*None\s*</a>"
HELP = r'(?s)<div class="leading-relaxed mt-2 text-xs">.*?</div>'
"""What a field's help says, as it stands in the code of its table."""


def read(page: str) -> str:
    """What a person reads of a page: no markup, no forms, and of a field's help no word."""
    page = re.sub(r"(?s)<(script|style|textarea|select)\b.*?</\1>", " ", page)
    page = re.sub(r"<[^>]*>", "|", re.sub(f"{HELP}|{NO_STRATEGY}", " ", page))
    return " ".join(html.unescape(page).split())


def unread(words: str) -> list[str]:
    """What nobody wants to read: numbers of more than six digits, values as programs write them."""
    numbers = re.findall(r"(?<![\w.])\d[\d,]*\.\d+(?:e[+-]?\d+)?", words)
    long = [one for one in numbers if len(re.sub(r"^[0.]+|[.,]|e.*$", "", one)) > 6]
    values = re.findall(r"\| *(None|True|False|nan|\{\}|\[\]) *\|", words)
    return long + re.findall(r"\bnull\b", words) + values


def test_what_is_looked_for_is_found() -> None:
    page = "<td>85.94410956242984 ms</td> <td>0.000123</td> <td>null</td><td> None</td>"
    assert unread(read(page)) == ["85.94410956242984", "null", "None"]
    fine = "<td>85.9 ms</td><td>1,234.5</td><td>157.0.6099.71</td><p>None of them</p>"
    assert unread(read(fine)) == []


def pages() -> Iterator[str]:
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        for row in model._default_manager.all()[:50]:
            yield reverse(f"{name}_change", args=[row.pk])


def test_no_page_shows_numbers_or_documents_as_programs_write_them(
    staff: Client, ugly: None
) -> None:
    said: dict[str, list[str]] = {}
    for path in [*pages(), "/admin/", "/admin/pool/", "/admin/pictures/scores/"]:
        answer = staff.get(path)
        assert answer.status_code == 200, path
        if found := unread(read(answer.content.decode())):
            said[path] = found
    assert said == {}
