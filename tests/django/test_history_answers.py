"""From samples to answers: real DuckDB, real rows, every door the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from browsers.core.failures import Category
from browsers.models import Browser
from history import answers, recording, transfer
from history.announcing import regression_changed
from history.errors import Refused
from history.models import (
    BrowserRecommendation,
    CapabilityScore,
    HistoryState,
    PendingSample,
    Regression,
)
from history.performance import BrowserPerformanceHistory
from history.recompute import is_behind, is_due, recompute
from history.tasks import recompute_history
from inference import tasks
from inference.store import outbox
from tests.support.history import sample, series
from tests.support.webhook import Webhook

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history" / "history.duckdb"
    return tmp_path


def learn(*observations: Any) -> None:
    recording.put(list(observations))
    recording.take_over(lambda source, mark: ())
    recompute()


def three_browsers() -> list[Any]:
    return [
        *series(10.0, browser="chromium", seed=1),
        *series(20.0, browser="firefox", seed=2),
        *series(30.0, browser="webkitgtk", seed=3),
    ]


def test_an_empty_history_says_that_it_knows_nothing() -> None:
    assert recompute().recommendations == 0
    found = answers.recommendation("text", "m")
    assert (found["known"], found["recommended_browser"], found["confidence"]) == (
        False,
        None,
        None,
    )
    assert "knows nothing" in found["reason"]
    assert answers.scores() == []
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("recommend", "--type", "text", "--model", "m", stdout=out)
    assert ended.value.code == 3
    assert "knows nothing" in out.getvalue()


def test_a_starting_preference_is_named_as_one_where_its_browser_is_here() -> None:
    Browser.objects.create(id="firefox", kind="firefox", family="firefox", state="ready")
    found = answers.recommendation("audio", "m")
    assert found["recommended_browser"] == "firefox"
    assert (found["known"], found["based_on"], found["sample_size"]) == (False, "default", 0)
    assert found["confidence"] <= 0.3


def test_the_fastest_is_recommended_and_failures_change_that() -> None:
    learn(*three_browsers())
    found = answers.recommendation("text", "m")
    assert (found["recommended_browser"], found["recommended_platform"]) == ("chromium", "wasm")
    assert found["based_on"] == "model"
    assert found["sample_size"] == 30
    assert found["confidence"] > 0.9
    fails = [sample(success=False, latency_ms=None, error_type="browser_crash")] * 30
    learn(*fails)
    found = answers.recommendation("text", "m")
    assert found["recommended_browser"] == "firefox"
    standings = {arm["browser"]: arm["standing"] for arm in found["config"]["evidence"]}
    assert standings["chromium"] == "refused"


def test_a_model_without_samples_is_answered_from_its_type() -> None:
    learn(*three_browsers())
    found = answers.recommendation("text", "another")
    assert (found["known"], found["recommended_browser"]) == (True, "chromium")
    assert found["based_on"] == "model_type"


def test_little_data_is_said_to_be_and_never_the_headline() -> None:
    """Three samples on Firefox: alone they recommend nothing, beside a type that is known they are a row."""
    learn(*series(5.0, browser="firefox", model_name="new", work="n" * 64, count=3))
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("recommend", "--type", "text", "--model", "new", stdout=out)
    assert ended.value.code == 3
    assert "too little is known of this model in any browser: 5 warm samples" in out.getvalue()
    assert "firefox/wasm" in out.getvalue()
    assert "3 samples; 5 are needed" in out.getvalue()
    learn(*series(10.0, browser="chromium", model_name="other", work="o" * 64))
    out = StringIO()
    call_command("recommend", "--type", "text", "--model", "new", stdout=out)
    headline, *rows = out.getvalue().splitlines()
    assert headline.startswith("chromium/wasm   confidence 0.50")
    assert [row.split()[:2] for row in rows] == [
        ["chromium/wasm", "recommended"], ["firefox/wasm", "little"],
    ]  # fmt: skip


def test_a_model_that_fails_wherever_its_type_is_known_is_told_so(admin_client: Client) -> None:
    fails = {"success": False, "latency_ms": None, "error_type": "out_of_memory"}
    learn(*three_browsers()[:30], *[sample(model_name="odd", work="d" * 64, **fails)] * 8)
    found = answers.recommendation("text", "odd")
    assert (found["known"], found["recommended_browser"], found["confidence"]) == (
        False, None, None,
    )  # fmt: skip
    assert "fails" in found["reason"]
    assert [arm["standing"] for arm in found["config"]["evidence"]] == ["refused"]
    page = admin_client.get("/admin/pictures/scores/", {"model": "odd"}).content.decode()
    assert "<strong>no browser</strong>" in page


def test_a_models_own_samples_decide_at_once() -> None:
    """What was measured since the last recomputation, too, comes before what its type says."""
    learn(*three_browsers())
    recording.put([*series(5.0, browser="firefox", model_name="new", work="n" * 64)])
    recording.take_over(lambda source, mark: ())
    found = answers.recommendation("text", "new")
    assert (found["recommended_browser"], found["based_on"]) == ("firefox", "model")
    assert (found["sample_size"], found["known"]) == (30, True)
    assert not BrowserRecommendation.objects.filter(model_name="new").exists()


def test_models_that_no_browser_can_run_are_no_browsers_failures() -> None:
    """56 right samples on Chromium; 40 models of the type that failed there, and one that ran on Firefox."""
    incompatible = [
        sample(
            model_name=f"odd-{n}", work=f"{n:064x}", success=False, latency_ms=None, platform=None,
            error_type="model_incompatible",
        )
        for n in range(40)
    ]  # fmt: skip
    learn(
        *series(10.0, count=56, model_name="good"),
        *incompatible,
        *series(10.0, browser="firefox", model_name="another", work="c" * 64),
    )
    found = answers.recommendation("text", "good")
    assert (found["recommended_browser"], found["sample_size"]) == ("chromium", 56)
    of_type = answers.recommendation("text", "unknown")
    assert of_type["confidence"] <= 0.7
    assert {arm["failures"] for arm in of_type["config"]["evidence"]} == {0}
    assert {one["metrics"]["failures"] for one in answers.scores()} == {0}


def test_scores_carry_interval_samples_and_time() -> None:
    learn(*three_browsers())
    ordered = answers.scores(model_type="text")
    assert [one["browser"] for one in ordered] == ["chromium", "firefox", "webkitgtk"]
    for one in ordered:
        assert 0 <= one["low"] <= one["score"] <= one["high"] <= 100
        assert one["sample_size"] == 30
        assert one["timestamp"]


def test_computing_twice_changes_nothing() -> None:
    learn(*three_browsers())

    def published() -> list[Any]:
        rows = BrowserRecommendation.objects.values_list(
            "model_name", "recommended_browser", "confidence", "config"
        )
        return [*rows, *CapabilityScore.objects.values_list("browser", "score", "low", "high")]

    before = published()
    recompute()
    assert published() == before
    assert not is_due()


def test_history_rests_many_times_as_long_as_it_worked(settings: Any) -> None:
    """However much comes in: at most a twentieth of one core, of which taking over may use half."""
    settings.WEBPOOL_HISTORY_RECOMPUTE_SAMPLES = 1
    learn(*three_browsers())
    recording.put(three_browsers())
    recording.take_over(lambda source, mark: ())
    began = HistoryState.objects.current().recomputed_at
    assert began is not None
    HistoryState.objects.update(recompute_s=10.0)
    assert not is_due(began + timedelta(seconds=20 * 10 + 199))
    assert is_due(began + timedelta(seconds=401))
    recompute_history()
    tasks.hand_over_attempts()
    assert HistoryState.objects.current().recomputed_at == began
    HistoryState.objects.update(recompute_s=0.0)
    recompute_history()
    assert HistoryState.objects.current().recomputed_at != began


def test_a_slower_build_opens_a_regression_that_its_successor_closes(settings: Any) -> None:
    told: list[dict[str, Any]] = []
    heard: list[str] = []
    here = Browser.objects.create(id="chromium", kind="chromium", family="chromium", version="151")
    with Webhook(told) as url:
        settings.WEBPOOL_REGRESSION_WEBHOOK = url
        regression_changed.connect(
            _listener := lambda regression, **_: heard.append(str(regression))
        )
        learn(*series(10.0, minutes_ago=300), *series(16.0, browser_version="151", minutes_ago=200))
        (one,) = Regression.objects.all()
        assert (one.from_build, one.to_build, one.closed_at) == ("150", "151", None)
        assert one.severity == "high"
        assert 1.5 < one.change_ratio < 1.7
        learn(*series(10.1, browser_version="152", minutes_ago=100))
        one.refresh_from_db()
        assert (one.closed_by, one.closed_at is not None) == ("152", True)
        assert len(heard) == 2
        for _ in range(100):
            if len(told) == 2:
                break
            threading.Event().wait(0.05)
        regression_changed.disconnect(_listener)
    (incident,) = here.incidents.all()
    assert incident.category == Category.REGRESSION
    assert incident.message.endswith(" times as long in 151 as in 150")
    assert incident.page == reverse("admin:history_regression_change", args=[one.pk])
    assert sorted(document["state"] for document in told) == ["closed", "open"]


def test_an_odd_latency_is_an_anomaly_even_on_a_constant_baseline() -> None:
    learn(*series(10.0), *[sample(browser="firefox", latency_ms=5.0)] * 10)
    history = BrowserPerformanceHistory()
    usual = history.detect_anomalies("chromium", "text", "m", "wasm", {"latency_ms": 10.2})
    odd = history.detect_anomalies("chromium", "text", "m", "wasm", {"latency_ms": 19.0})
    jump = history.detect_anomalies("firefox", "text", "m", "wasm", {"latency_ms": 6.0})
    assert [one["anomaly"] for one in (usual, odd, jump)] == [False, True, True]


def test_a_change_of_level_is_found_with_its_build() -> None:
    learn(
        *series(10.0, count=40, minutes_ago=300),
        *series(15.0, count=40, minutes_ago=200, browser_version="151"),
    )
    (one,) = answers.trends(model_name="m")["series"]
    (point,) = one["change_points"]
    assert (point["build_before"], point["build"]) == ("150", "151")
    assert 1.4 < point["ratio"] < 1.6


@pytest.mark.parametrize("file_format", ["json", "csv", "parquet"])
def test_an_export_imported_elsewhere_gives_the_same_recommendations(
    home: Path, settings: Any, file_format: str
) -> None:
    learn(*three_browsers())
    file = home / f"out.{file_format}"
    assert transfer.export(file) == 90
    before = answers.recommendation("text", "m")["config"]
    settings.WEBPOOL_HISTORY_PATH = home / "other" / "history.duckdb"
    recompute()
    assert not answers.recommendation("text", "m")["known"]
    call_command("import_history", str(file), stdout=StringIO())
    assert answers.recommendation("text", "m")["config"] == before
    assert transfer.import_file(file) == 0, "the second time nothing is new"


@pytest.mark.parametrize("file_format", ["json", "csv", "parquet"])
def test_a_file_cut_in_half_is_refused_and_changes_nothing(home: Path, file_format: str) -> None:
    learn(*three_browsers())
    file = home / f"out.{file_format}"
    transfer.export(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = len(answers.performance()["samples"])
    with pytest.raises(CommandError):
        call_command("import_history", str(file))
    assert len(answers.performance()["samples"]) == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latency_ms": -1.0}, "latency_ms"),
        ({"latency_ms": float("nan")}, "latency_ms"),
        ({"browser": "netscape"}, "browser"),
        ({"model_name": "m'; DROP TABLE browser_performance; --"}, "model_name"),
        ({"model_type": "smell"}, "model_type"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_garbage_is_refused_by_name_and_leaves_nothing(changes: dict[str, Any], named: str) -> None:
    fields = {"browser": "chromium", "model_type": "text", "model_name": "m", "latency_ms": 1.0}
    with pytest.raises(Refused, match=named):
        BrowserPerformanceHistory().record_execution(**{**fields, **changes})
    assert not PendingSample.objects.exists()


def test_a_model_is_found_whatever_type_was_asked_for() -> None:
    learn(*three_browsers())
    found = answers.recommendation("vision", "m")
    assert (found["known"], found["model_type"]) == (True, "text")
    assert found["reason"] == "m is recorded as a model of type text"
    assert not answers.recommendation("vision", "")["known"]


def test_a_pool_that_ends_leaves_nothing_undecided(home: Path) -> None:
    recording.put(three_browsers())
    assert not answers.recommendation("text", "m")["known"]
    tasks.complete_history()
    assert answers.recommendation("text", "m")["known"]
    assert not is_behind()


def test_what_python_callers_record_is_kept_with_what_they_said(home: Path) -> None:
    history = BrowserPerformanceHistory()
    for latency_ms in (1.0, 2.0):
        history.record_execution("chromium", "text", "m", latency_ms=latency_ms, platform="wasm")
    history.record_execution("chromium", "text", "m", success=False, error_type="timeout")
    outbox.hand_over()
    kept = history.get_performance_history("chromium", "text")["samples"]
    assert [(row["latency_ms"], row["success"]) for row in kept] == [
        (None, False), (2.0, True), (1.0, True),
    ]  # fmt: skip


def test_rest_gives_the_same_answers(valkey: Any) -> None:
    client = Client(headers={"Host": "127.0.0.1"})
    learn(*three_browsers())

    def get(path: str, **query: Any) -> Any:
        answer = client.get(f"/api/history/{path}/", query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    found = get("recommendation", model_type="text", model_name="m")
    assert found == json.loads(json.dumps(answers.recommendation("text", "m"), default=str))
    assert get("scores", model_type="text")["scores"] == answers.scores(model_type="text")
    assert len(get("performance", browser="firefox", limit=7)["samples"]) == 7
    (work,) = get("comparison", model_type="text", model_name="m")["works"]
    assert [arm["browser"] for arm in work["arms"]] == ["chromium", "firefox", "webkitgtk"]
    assert work["arms"][1]["verdict"] == "slower"
    assert len(get("trends", model_name="m")["series"]) == 3
    assert get("regressions")["regressions"] == []
    refused = client.get("/api/history/performance/", {"browser": "netscape"})
    assert refused.status_code == 400
    assert "netscape" in refused.content.decode()


@pytest.fixture(autouse=True)
def _no_pending() -> Iterator[None]:
    yield
    PendingSample.objects.all().delete()
