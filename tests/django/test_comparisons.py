"""The engine of comparisons, against a real database and a real Valkey; the test plays the workers' part."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

from browsers.core.answers.proofs import Verdict
from browsers.core.failures import Category
from browsers.models import BackendProof, Browser, Incident
from browsers.redis import client
from inference import tasks
from inference.catalog import registry
from inference.catalog.uploads import Conflict
from inference.comparisons import asking, engine, junit, page, report, storage
from inference.core.comparisons.cells import CellState
from inference.errors import Busy, InvalidRequest, UnknownBrowser
from inference.models import (
    Comparison,
    ComparisonCell,
    OnnxModel,
    Run,
    RunState,
)
from tests.support.batches import chain_model
from tests.support.comparing import advance, answer, asked, cell, fail, finish, queued, two_browsers
from tests.support.ledger import publish
from tests.support.small_models import random_normal
from tests.support.webhook import Webhook


@pytest.fixture
def model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    with two_browsers():
        yield chain_model(tmp_path, "compared")


def took(**times_ms: float) -> dict[str, dict[str, float]]:
    """What each browser's runs take."""
    return {browser: {"compute_ms": time_ms} for browser, time_ms in times_ms.items()}


def test_every_round_runs_each_cell_once_and_the_first_run_is_apart(model: OnnxModel) -> None:
    comparison = asking.create(asked(model))
    order = finish(comparison, a={"compute_ms": 5.0}, b={"compute_ms": 9.0})
    assert all(set(order[at : at + 2]) == {"a", "b"} for at in range(0, 8, 2))
    assert len(order) == 8
    one = cell(comparison, "b")
    assert (one.state, one.samples, one.first_ms, one.load_ms) == (
        CellState.MEASURED, [9.0] * 3, 9.0, 40.0,
    )  # fmt: skip
    assert (one.version, one.memory_mb, one.nodes) == ("2.0", 103.0, {"CPUExecutionProvider": 4})
    assert one.largest_difference == 0.0
    assert len(one.run_ids) == 4
    document = report.document(comparison)
    assert document["cells"][1]["same_bits"] == ["a wasm", "native onnxruntime"]
    assert "wasm in a, b: the same bits." in document["said"]


def test_a_run_that_was_not_warm_is_no_sample_and_is_repeated(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, browsers=("a",), runs=2))
    for warm in (False, True, False, True):
        assert advance(comparison) is not None
        answer(compute_ms=7.0 if warm else 100.0, warm=warm)
    assert advance(comparison) is None
    assert cell(comparison, "a").samples == [7.0, 7.0]


def test_a_turn_whose_claimer_is_dead_is_given_again(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, browsers=("a",)))
    now = timezone.now()
    assert engine._claim(comparison, cell(comparison, "a"), now)
    assert engine.advance(comparison.pk, now) is None
    assert engine.advance(comparison.pk, now, now) is None
    assert engine.advance(comparison.pk, now, now + timedelta(microseconds=1)) is not None
    assert Comparison.objects.get().turn == 2


def test_whoever_was_killed_after_sending_is_adopted_and_nothing_counts_twice(
    model: OnnxModel,
) -> None:
    comparison = asking.create(asked(model, browsers=("a",)))
    run = advance(comparison)
    assert run is not None
    Comparison.objects.update(turn_run=None)  # died before it could note the run
    assert advance(comparison) == run
    answer()
    late = Comparison.objects.select_related("model", "turn_cell", "turn_run").get()
    assert advance(comparison) != run
    engine._count(late, Run.objects.get(pk=run))  # another process that read the row before
    assert cell(comparison, "a").turns == 1
    assert Comparison.objects.get().turn_cell_id is not None


def test_a_wrong_answer_is_found_and_what_was_right_before_is_worse_now(model: OnnxModel) -> None:
    finish(asking.create(asked(model)))
    comparison = asking.create(asked(model))
    finish(comparison, b={"off": 0.5})
    one = cell(comparison, "b")
    assert one.state == CellState.WRONG
    assert one.largest_difference == pytest.approx(0.5)
    assert "off by 0.5" in one.reason
    document = report.document(comparison)
    place = {"kind": "kind-b", "backend": "wasm", "strategy": "none"}
    assert document["worse"] == [{**place, "browser": "b", "name": "kind-b wasm"}]
    assert any(said.startswith("b wasm is wrong") for said in document["said"])
    assert document["summary"] == "1 right; 1 wrong; fastest a wasm, median 5 ms"
    assert document["worsened"] == ["kind-b wasm is wrong, and was right before."]
    (incident,) = Incident.objects.all()
    assert (incident.browser_id, incident.category) == ("b", Category.REGRESSION)
    assert incident.message == "compared: kind-b wasm is wrong, and was right before."
    assert incident.page == reverse("admin:inference_comparison_change", args=[comparison.pk])
    suite = ET.fromstring(junit.render(document)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    html = page.standalone(document)
    assert "off by 0.5" in html
    assert "http" not in html.replace("http://www.w3.org", "").split("<body>")[1]


@pytest.mark.parametrize("wrong", ["a", "b"])
def test_of_two_browsers_of_a_kind_each_is_held_against_itself(
    model: OnnxModel, wrong: str
) -> None:
    """Whichever comes first: the other one's right answer hides nothing, and is not blamed."""
    right = {"a": "b", "b": "a"}[wrong]
    Browser.objects.update(kind="kind")
    for browser in "ab":
        publish(browser, kind="kind")
    two = asked(model, browsers=("a", "b"))
    finish(asking.create(two))
    comparison = asking.create(two)
    finish(comparison, **{wrong: {"off": 0.5}})
    document = report.document(comparison)
    (one,) = document["worse"]
    assert (one["browser"], one["kind"], one["name"]) == (wrong, "kind", f"{wrong} wasm")
    assert document["worsened"] == [f"{wrong} wasm is wrong, and was right before."]
    assert [incident.browser_id for incident in Incident.objects.all()] == [wrong]
    again = asking.create(two)
    finish(again, **{right: {"off": 0.5}, wrong: {"off": 0.5}})
    (one,) = report.document(again)["worse"]
    assert one["browser"] == right, "the other was wrong before"


def test_of_two_browsers_of_a_kind_the_slower_one_is_told(model: OnnxModel) -> None:
    Browser.objects.update(kind="kind")
    for browser in "ab":
        publish(browser, kind="kind")
    two = asked(model, browsers=("a", "b"), runs=20)
    finish(asking.create(two), **took(a=5.0, b=5.0))
    comparison = asking.create(two)
    finish(comparison, **took(a=6.0, b=5.0))
    (one,) = report.document(comparison)["slower"]
    assert (one["browser"], one["name"]) == ("a", "a wasm")
    assert [incident.browser_id for incident in Incident.objects.all()] == ["a"]


def test_a_browser_that_is_a_fifth_slower_is_told_in_words_and_as_bars(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, runs=20))
    for took_ms in np.random.default_rng(3).lognormal(1.6, 0.05, 42):
        assert advance(comparison) is not None
        (browser,) = {shard.browser for shard in queued()}
        answer(compute_ms=float(took_ms) * (1.2 if browser == "b" else 1.0))
    assert advance(comparison) is None
    document = report.document(comparison)
    assert "b wasm is about 1.2 times as slow as a wasm." in document["said"]
    html = page.standalone(document)
    assert html.count('class="hp-bar-place"') == 2
    assert html.count('class="hp-whisker"') == 2 * 3


def test_a_browser_that_became_slower_is_told_with_its_builds_and_is_an_incident(
    model: OnnxModel,
) -> None:
    finish(asking.create(asked(model, runs=20)), **took(a=5.0, b=5.0))
    comparison = asking.create(asked(model, runs=20))
    ComparisonCell.objects.exclude(comparison=comparison).filter(browser="b").update(version="1.9")
    finish(comparison, **took(a=5.0, b=6.0))
    document = report.document(comparison)
    (one,) = document["slower"]
    assert (one["name"], document["worse"], document["slower_everywhere"]) == (
        "kind-b wasm",
        [],
        False,
    )
    assert one["low"] >= 1.1
    (sentence,) = document["worsened"]
    assert sentence.startswith("kind-b wasm takes about 1.2 times as long as on 20")
    assert sentence.endswith(" UTC (then 1.9, now 2.0).")
    assert sentence in page.standalone(document)
    (incident,) = Incident.objects.all()
    assert (incident.browser_id, incident.message) == ("b", f"compared: {sentence}")


def test_where_everything_became_slower_no_browser_is_blamed(model: OnnxModel) -> None:
    finish(asking.create(asked(model, runs=20)), **took(a=5.0, b=5.0))
    comparison = asking.create(asked(model, runs=20))
    finish(comparison, **took(a=6.0, b=6.5))
    document = report.document(comparison)
    assert document["slower_everywhere"]
    assert "the machine may be what changed" in document["worsened"][-1]
    assert not Incident.objects.exists()


def test_a_failure_is_told_in_full_with_its_operator(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, browsers=("a",)))
    error = "Could not find an implementation for MatMul(9) node with name 'first'\nmore"
    advance(comparison)
    fail(Category.UNSUPPORTED_OPERATION, error)
    assert advance(comparison) is None
    (told,) = report.document(comparison)["cells"]
    assert (told["state"], told["operator"], told["reason"]) == (
        "failed", "MatMul (node 'first')", error,
    )  # fmt: skip


def test_what_may_pass_is_tried_once_more(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, browsers=("a",), runs=1))
    advance(comparison)
    fail(Category.BROWSER_CRASH, "the page died")
    assert advance(comparison) is not None
    assert cell(comparison, "a").misses == 1
    fail(Category.BROWSER_CRASH, "the page died again")
    assert advance(comparison) is None
    one = cell(comparison, "a")
    assert (one.state, one.reason) == (CellState.FAILED, "the page died again")


def test_a_backend_that_a_trial_found_wrong_is_wrong(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, browsers=("a",)))
    BackendProof.objects.create(
        sha256=model.sha256, kind="kind-a", version=cell(comparison, "a").version, host="", backend="wasm",
        verdict=Verdict.WRONG, reason="its output 'y' is off by 3", runtime="r",
    )  # fmt: skip
    advance(comparison)
    fail(Category.UNSUPPORTED_OPERATION, "a: wasm answers this file wrongly: off by 3")
    advance(comparison)
    one = cell(comparison, "a")
    assert one.state == CellState.WRONG
    assert "found out on" in one.reason


def test_what_nobody_here_can_run_is_untried_with_the_reason(model: OnnxModel) -> None:
    comparison = asking.create(asked(model, backends=("wasm", "webgpu"), browsers=("a",)))
    one = cell(comparison, "a", "webgpu")
    assert (one.state, one.reason) == (CellState.UNTRIED, "it offers no webgpu: no adapter here")
    document = report.document(comparison)
    assert document["summary"] == "1 untried; 1 waiting"
    told = page.told(document)
    assert told["untried"] == ["a webgpu"]
    assert [each["name"] for each in told["comparison"]["cells"]] == ["a wasm", "a webgpu"]
    assert "a webgpu" not in told["drawing"]
    client().flushall()
    with pytest.raises(UnknownBrowser, match="firefix"):
        asking.create(asked(model, browsers=("firefix",)))


def test_a_browser_that_stays_away_ends_its_cell(
    model: OnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = asking.create(asked(model, browsers=("a",), runs=1))
    client().delete("webpool:browser:a")
    Browser.objects.filter(pk="a").delete()
    assert advance(comparison) is None
    waiting = Comparison.objects.get()
    assert waiting.note
    assert waiting.waiting_since is not None
    later = waiting.waiting_since + engine.GONE_AFTER
    engine.advance(comparison.pk, later)
    one = cell(comparison, "a")
    assert one.state == CellState.UNTRIED
    assert "waited 120 s" in one.reason


def test_random_operators_are_said_and_not_judged(model: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / "dice.onnx").write_bytes(random_normal())
    dice = registry.add_model(tmp_path / "dice.onnx", name="dice")
    comparison = asking.create(asked(dice, browsers=("a",)))
    assert "random" in comparison.reference["not_judged"]
    assert any("No answer is judged" in one for one in report.document(comparison)["said"])


def test_a_scheduled_one_tells_what_is_worse_than_before(model: OnnxModel, settings: Any) -> None:
    told: list[dict[str, Any]] = []
    words: dict[str, Any] = {"backends": ["wasm"], "browsers": ["a"], "runs": 2}
    with Webhook(told) as url:
        settings.WEBPOOL_REGRESSION_WEBHOOK = url
        first = asking.get(tasks.compare_model(model.name, **words))
        assert tasks.compare_model(model.name, **words) == str(first.pk)  # it has not ended
        finish(first)
        second = asking.get(tasks.compare_model(model.name, **words))
        assert (second.scheduled, second.seed) == (True, first.seed)
        finish(second, a={"off": 0.5})
        for _ in range(1000):
            if told:
                break
            threading.Event().wait(0.05)
    (one,) = told
    assert one["comparison"] == str(second.pk)
    assert one["worse"][0]["before"] == "measured"
    document = report.document(second)
    assert [each["comparison"] for each in document["cells"][0]["earlier"]] == [str(first.pk)]
    assert "earlier-0" in page.standalone(document)


def test_cancelling_ends_the_run_in_flight(model: OnnxModel) -> None:
    comparison = asking.create(asked(model))
    run = advance(comparison)
    assert run is not None
    assert asking.cancel(comparison)
    assert advance(comparison) is None
    assert Run.objects.get(pk=run).state == RunState.CANCELLED
    assert Comparison.objects.get().turn_cell_id is None


def test_one_that_ended_is_deleted_with_its_file_and_one_that_runs_is_not(model: OnnxModel) -> None:
    comparison = asking.create(asked(model))
    with pytest.raises(Conflict, match="cancel it, then delete it"):
        asking.remove(comparison)
    assert storage.path_of(comparison.pk).exists()
    asking.cancel(comparison)
    asking.remove(comparison)
    assert not storage.path_of(comparison.pk).exists()
    assert not Comparison.objects.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backends": ("webgl",)}, "backends: expected of wasm, webgpu, webnn"),
        ({"runs": 0}, "runs: expected a whole number from 1"),
        ({"rows": 4, "known_answer": True}, "rows is of random inputs"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_kept(
    model: OnnxModel, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        asking.create(asked(model, **given))
    assert not Comparison.objects.exists()


def test_one_owner_may_have_so_many_open(model: OnnxModel, settings: Any) -> None:
    settings.WEBPOOL_MAX_RUNS_PER_OWNER = 1
    asking.create(asked(model, owner="ann"))
    with pytest.raises(Busy):
        asking.create(asked(model, owner="ann"))
    asking.create(asked(model, owner="bob", known_answer=True))
