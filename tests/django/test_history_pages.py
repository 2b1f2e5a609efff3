"""Pages of history: of the model that was asked for, not too long, with numbers as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from history.models import BrowserRecommendation, CapabilityScore
from tests.support.ledger import make_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any, valkey: Any) -> Path:
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history" / "history.duckdb"
    return tmp_path


def page(client: Client, path: str, *, status: int = 200, **query: Any) -> str:
    answer = client.get(path, query)
    assert answer.status_code == status
    return answer.content.decode()


def recommend(count: int) -> None:
    BrowserRecommendation.objects.bulk_create(
        BrowserRecommendation(
            timestamp=timezone.now(), model_type="text", model_name=f"m{number:03d}",
            recommended_browser="firefox", confidence=0.8594410956242984, sample_size=7,
            based_on="model",
        )
        for number in range(count)
    )  # fmt: skip


def test_a_model_that_there_is_not_is_not_another_one(admin_client: Client) -> None:
    name = make_run().model.name
    assert name in page(admin_client, "/admin/pictures/latency/")
    said = page(admin_client, "/admin/pictures/latency/", status=404, model="<nobody>")
    assert "No model is called “&lt;nobody&gt;”" in said
    assert f"execution of {name}" not in said


@pytest.mark.parametrize("days", ["0", "-1", "x", "99999", "\u0663", ""])
def test_days_that_cannot_be_are_the_usual_ones(admin_client: Client, days: str) -> None:
    make_run()
    assert "Latency" in page(admin_client, "/admin/pictures/latency/", days=days)


def test_many_recommendations_are_shown_in_parts_and_found_by_name(admin_client: Client) -> None:
    recommend(45)
    first = page(admin_client, "/admin/pictures/scores/")
    assert (first.count('class="hp-recommendation"'), "m019" in first, "m020" in first) == (
        20, True, False,
    )  # fmt: skip
    last = page(admin_client, "/admin/pictures/scores/", page=3)
    assert last.count('class="hp-recommendation"') == 5
    found = page(admin_client, "/admin/pictures/scores/", model="m031")
    assert found.count('class="hp-recommendation"') == 1
    assert "None of a model" in page(admin_client, "/admin/pictures/scores/", model="nobody")


@pytest.mark.parametrize("model", [BrowserRecommendation, CapabilityScore])
def test_the_admin_shows_three_digits(admin_client: Client, model: Any) -> None:
    recommend(1)
    CapabilityScore.objects.create(
        timestamp=timezone.now(), browser="firefox", model_type="text", score=85.94410956242984,
        confidence=0.8594410956242984, sample_size=7, low=80.123456, high=90.123456,
    )  # fmt: skip
    name = model._meta.model_name
    for path in (
        f"/admin/history/{name}/",
        f"/admin/history/{name}/{model.objects.get().pk}/change/",
    ):
        shown = page(admin_client, path)
        assert "0.859" in shown
        assert "0.8594" not in shown
        assert "85.944" not in shown
