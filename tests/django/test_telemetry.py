"""Telemetry: one document, the same at every door; what nobody measured is null, never a number."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import promql_parser
import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.renderers import JSONRenderer

from browsers.core.failures import Category
from browsers.models import Browser, BrowserState, Incident
from browsers.redis import client
from browsers.state import breakers, live
from inference.models import Attempt, OnnxModel, Outcome, Run, RunState
from inference.telemetry import telemetry
from inference.telemetry.schema import TelemetrySerializer
from tests.support.ledger import make_run, publish
from tests.support.promlint import complaints
from tests.support.shared import ROOT

RUNG = {"rung": "refresh", "category": "browser_crash", "message": 'a "quoted"\nline'}


@pytest.fixture
def pool(database: None, valkey: Any) -> Iterator[Run]:
    """Browser a lives, b is gone; a run that succeeded a moment ago; repairs of a."""
    client().flushall()
    Run.objects.all().delete()  # what other tests left
    Browser.objects.all().delete()
    for browser_id in ("a", "b"):
        Browser.objects.create(
            id=browser_id, kind=browser_id, family=browser_id, state=BrowserState.READY, starts=3
        )
    shard = live.LiveModel("wasm", 2**20, None)
    publish("a", memory_mb=100.0, resident_bytes=2**20, loaded={f"{0:064d}": shard})
    run = make_run()
    _succeed(run, took_ms=250.0, compute_ms=40.0)
    for repaired, duration_ms in [(True, 50.0), (False, 30.0), (True, 70.0), (None, None)]:
        Incident.objects.create(browser_id="a", repaired=repaired, duration_ms=duration_ms, **RUNG)
    yield run
    Browser.objects.all().delete()
    OnnxModel.objects.filter(pk=run.model_id).delete()
    client().flushall()


def _succeed(run: Run, *, took_ms: float, compute_ms: float) -> None:
    ended = timezone.now()
    began = ended - timedelta(milliseconds=took_ms)
    Run.objects.filter(pk=run.pk).update(
        state=RunState.SUCCEEDED, created_at=began, finished_at=ended
    )
    Attempt.objects.create(
        shard=run.shards.get(index=0), number=1, outcome=Outcome.SUCCEEDED, browser="a",
        backend="wasm", compute_ms=compute_ms, started_at=began, finished_at=ended,
    )  # fmt: skip


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one series, by the values of their labels, in order of the labels' names."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_connections_say_who_lives_and_null_what_is_not_known(pool: Run) -> None:
    a, b = telemetry()["connections"]
    assert (a["id"], a["connected"], a["memory_mb"], a["restarts"]) == ("a", True, 100.0, 2)
    assert 0 <= a["lease_age_s"] < 60
    assert [backend["name"] for backend in a["backends"]] == ["wasm"]
    assert (b["id"], b["connected"]) == ("b", False)
    assert [b[key] for key in ("lease_age_s", "memory_mb", "backends", "version")] == [None] * 4


def test_rungs_count_what_was_tried_and_what_helped(pool: Run) -> None:
    (rung,) = telemetry()["rungs"]
    assert (rung["rung"], rung["family"], rung["category"]) == ("refresh", "a", "browser_crash")
    assert (rung["attempts"], rung["successes"], rung["unknown"]) == (3, 2, 1)
    assert rung["durations"] == {"count": 3, "p50_ms": 50.0, "p95_ms": 70.0, "sum_ms": 150.0}


def test_latency_is_of_the_last_minutes_only(pool: Run) -> None:
    now = timezone.now()
    recent = telemetry(now=now)["latency"]
    assert recent["ended"] == {"succeeded": 1}
    assert recent["succeeded_ms"]["p95_ms"] == pytest.approx(250.0, abs=0.01)
    (computing,) = recent["computing"]
    assert (computing["browser"], computing["compute_ms"]["p50_ms"]) == ("a", 40.0)
    later = telemetry(now=now + timedelta(hours=1))["latency"]
    assert later["ended"] == {}
    assert later["succeeded_ms"]["p50_ms"] is None


def test_system_models_and_queues(pool: Run) -> None:
    client().rpush("browser.a", "message")
    document = telemetry()
    redis = document["system"]["redis"]
    assert redis["queues"] == {"control": 0, "history": 0, "browser.a": 1, "browser.b": 0}
    assert 0 < redis["used_mb"] < redis["cap_mb"]
    assert document["system"]["disk_free_mb"] <= document["system"]["disk_total_mb"]
    (loaded,) = document["models"]
    assert (loaded["browser"], loaded["compute_ms"]) == ("a", None)
    assert loaded["name"].endswith("#0"), "the shard with these bytes is named"


def test_every_door_shows_the_same_document(pool: Run) -> None:
    visitor = Client(headers={"host": "localhost"})
    answer = visitor.get("/api/telemetry/").json()
    out = io.StringIO()
    call_command("telemetry", "--json", stdout=out)
    command = json.loads(out.getvalue())
    assert answer.keys() == command.keys()
    for key in ("rungs", "runs", "models", "attempts", "breakers", "open_shards"):
        assert answer[key] == command[key], key
    short = visitor.get("/api/telemetry/?include_connections=false&include_models=0").json()
    assert answer.keys() - short.keys() == {"connections", "models"}
    refused = visitor.get("/api/telemetry/?include_models=perhaps")
    assert refused.status_code == 400
    assert "include_models" in refused.json()["error"]


def test_the_published_schema_is_what_comes(pool: Run) -> None:
    visitor = Client(headers={"host": "localhost"})
    assert b"/api/telemetry/" in visitor.get("/api/schema/?format=json").content
    document = telemetry()
    described = JSONRenderer().render(TelemetrySerializer(document).data)
    assert json.loads(described) == json.loads(JSONRenderer().render(document))


def test_the_command_prints_unknown_for_what_is_not_known(pool: Run) -> None:
    out = io.StringIO()
    call_command("telemetry", stdout=out)
    line = next(line for line in out.getvalue().splitlines() if line.startswith("b "))
    assert line.split()[:4] == ["b", "ready", "unknown", "unknown"]


def test_prometheus_text_is_clean_and_says_what_the_document_says(pool: Run) -> None:
    text = Client(headers={"host": "localhost"}).get("/metrics").content.decode()
    assert complaints(text) == []
    assert values(text, "webpool_browser_memory_bytes") == {("a",): 100.0 * 2**20}
    up = values(text, "webpool_browser_up")
    assert {labels[0]: value for labels, value in up.items()} == {"a": 1.0, "b": 0.0}
    assert values(text, "webpool_rung_attempts") == {("browser_crash", "a", "refresh"): 3.0}
    assert values(text, "webpool_rung_duration_seconds_sum") == {
        ("browser_crash", "a", "refresh"): 0.15
    }
    assert values(text, "webpool_queue_length")["control",] == 0


def watched() -> Iterator[tuple[str, str]]:
    """The expressions of the alert rules and the dashboard, each with its name."""
    folder = ROOT / "docs" / "monitoring"
    for group in yaml.safe_load((folder / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["summary"] and rule["labels"]["severity"], rule["alert"]
            promql_parser.parse_duration(rule["for"])
            yield rule["alert"], rule["expr"]
    for panel in json.loads((folder / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def selected(expression: str) -> list[Any]:
    """The series that a PromQL expression selects, as its parser found them."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return [one for one in found if isinstance(one, promql_parser.VectorSelector)]


def test_alerts_and_dashboard_ask_for_series_that_there_are(pool: Run) -> None:
    breakers.crashed("a")
    text = Client(headers={"host": "localhost"}).get("/metrics").content.decode()
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    names = {family.name for family in families} | {sample.name for sample in samples}
    labels = {sample.name: set(sample.labels) for sample in samples}
    names, labels = names | {"up"}, {**labels, "up": {"job"}}  # Prometheus' own
    wrong = [
        f"{name}: {series.name} {matcher and matcher.name}"
        for name, expression in watched()
        for series in selected(expression)
        for matcher in [*series.matchers.matchers, None]
        if series.name not in names
        or (matcher and matcher.name not in labels.get(series.name, {matcher.name}))
    ]
    assert wrong == []
    assert len(list(watched())) > 20


def test_breakers_are_told_by_the_document_and_to_prometheus(pool: Run) -> None:
    breakers.crashed("a")
    breakers.failed("b", Category.TIMEOUT, sha256="f" * 64)
    told = {row["browser"]: row for row in telemetry()["breakers"]}
    assert (told["a"]["state"], told["b"]["state"]) == ("open", "closed")
    text = Client(headers={"host": "localhost"}).get("/metrics").content.decode()
    assert complaints(text) == []
    assert values(text, "webpool_breaker_state") == {("a", "open"): 1.0, ("b", "closed"): 1.0}
    assert values(text, "webpool_breaker_models") == {("a",): 0.0, ("b",): 1.0}


def test_labels_are_escaped(pool: Run) -> None:
    Browser.objects.filter(pk="a").update(version='1"\n\\2')
    text = Client(headers={"host": "localhost"}).get("/metrics").content.decode()
    assert complaints(text) == []
    assert ("a", "a", "ready", '1"\n\\2') in values(text, "webpool_browser_up")


def test_without_redis_the_rows_are_told_and_the_rest_is_null(pool: Run, settings: Any) -> None:
    settings.WEBPOOL_REDIS_URL = f"unix://{settings.WEBPOOL_HOME}/run/nobody.sock"
    client.cache_clear()
    try:
        document = telemetry()
        text = Client(headers={"host": "localhost"}).get("/metrics").content.decode()
    finally:
        client.cache_clear()
    redis = document["system"]["redis"]
    assert redis == {"answers": False, "used_mb": None, "cap_mb": None, "queues": None}
    assert [row["connected"] for row in document["connections"]] == [None, None]
    assert document["models"] is None
    assert document["runs"] == {"succeeded": 1}
    assert complaints(text) == []
    assert values(text, "webpool_redis_up") == {(): 0.0}
    assert values(text, "webpool_browser_up") == {}


def test_the_lint_complains_where_promtool_would() -> None:
    bad = (
        "# TYPE webpool_Runs_total gauge\nwebpool_Runs_total 1\nwebpool_Runs_total 2\n"
        '# HELP webpool_x_ms Time.\n# TYPE webpool_x_ms gauge\nwebpool_x_ms{quantile="0.5"} 1\n'
    )
    said = " ".join(complaints(bad))
    for word in ("twice", "no help", "snake_case", "_total", "base units", "quantiles"):
        assert word in said, word
