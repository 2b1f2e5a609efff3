"""History decides where nobody asked: by published rows, without a query per run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from django.utils import timezone

from history.core.configuration import optimized_config, published
from history.core.recommendations import Basis, from_measurements
from history.core.series import Arm, Series
from history.models import BrowserRecommendation, CapabilityScore
from inference.core.exploration import Taken
from inference.core.placement import BackendView, BrowserView, ShardView, Wishes, candidates
from inference.models import OnnxModel, Run
from inference.scheduling import advice
from tests.unit.history.truth import WORK, latencies, series

pytestmark = pytest.mark.django_db
_SHARD = ShardView(0, "ab" * 32, 1_000_000)
_MODEL = OnnxModel(name="minilm", model_type="text")


def _browser(kind: str, **fields) -> BrowserView:
    values = {
        "id": f"{kind}-1", "kind": kind, "family": kind, "state": "ready",
        "backends": (BackendView("wasm", None, 1.0),), "loaded": {}, "resident_bytes": 0,
        "memory_limit_mb": None, "outstanding": 0, **fields,
    }  # fmt: skip
    return BrowserView(**values)


def _publish(measured: list[Series]) -> None:
    found = from_measurements(measured, Basis.MODEL)
    assert found is not None
    BrowserRecommendation.objects.create(
        timestamp=timezone.now(), model_type="text", model_name="minilm",
        recommended_browser=found.browser, recommended_platform=found.platform,
        confidence=found.confidence, sample_size=found.sample_size, based_on=found.based_on,
        config=published(found),
    )  # fmt: skip
    advice.clear_cache()


def _noisy(median_ms: float, seed: int) -> np.ndarray:
    return latencies(np.random.default_rng(seed), median_ms, 40, spread=0.1)


@pytest.fixture(autouse=True)
def _fresh():
    advice.clear_cache()
    yield
    advice.clear_cache()


def _first(pool: list[BrowserView], wishes: Wishes) -> str:
    advised = advice.advise(wishes, _MODEL, None)
    return candidates(_SHARD, pool, advised, avoid={}, refused={}, used={})[0].browser


POOL = [_browser("chromium", loaded={"ab" * 32: 20.0}), _browser("firefox")]


def test_an_empty_history_changes_nothing() -> None:
    assert advice.recommend_for("text", "minilm") is None
    assert advice.select(_MODEL, _SHARD, POOL, Wishes(), POOL[0]) is None
    assert _first(POOL, Wishes()) == "chromium-1"


def test_one_without_a_time_of_its_own_is_judged_by_history() -> None:
    loaded = [dataclasses.replace(POOL[0], loaded={"ab" * 32: 2000.0}), POOL[1]]
    _publish([series(_noisy(200, 1), "chromium"), series(_noisy(10, 2), "firefox")])
    recommended = advice.recommend_for("text", "minilm")
    assert recommended is not None
    assert recommended["recommended_browser"] == "firefox"
    assert _first(loaded, Wishes()) == "firefox-1"
    assert _first(loaded, Wishes(browsers=("chromium",))) == "chromium-1"


def test_a_browser_that_fails_comes_last_unless_it_is_asked_for() -> None:
    fast = series(_noisy(10, 1), "chromium")
    _publish([
        fast, series(_noisy(30, 2), "firefox"),
        Series(WORK, Arm("chromium"), np.empty(0), 0, failures=10),
    ])  # fmt: skip
    assert _first(POOL, Wishes()) == "firefox-1"
    assert _first(POOL, Wishes(browsers=("chromium",))) == "chromium-1"


def test_what_is_remembered_costs_no_query(django_assert_num_queries) -> None:
    _publish([series(_noisy(10, 1), "chromium"), series(_noisy(30, 2), "firefox")])
    advice.recommend_for("text", "minilm")
    with django_assert_num_queries(0):
        for _ in range(20):
            _first(POOL, Wishes())
            advice.select(_MODEL, _SHARD, POOL, Wishes(), POOL[0])


def test_a_share_explores_and_says_with_which_probability(settings) -> None:
    settings.WEBPOOL_EXPLORE_SHARE = 1.0
    _publish([series(_noisy(10, 1), "chromium"), series(_noisy(10, 2), "firefox")])
    taken = [advice.select(_MODEL, _SHARD, POOL, Wishes(), POOL[0]) for _ in range(400)]
    kinds = [one.arm.kind for one in taken if one]
    assert len(kinds) == 400
    for kind in ("chromium", "firefox"):
        (chance,) = {one.propensity for one in taken if one and one.arm.kind == kind}
        assert kinds.count(kind) / 400 == pytest.approx(chance, abs=0.1)
    explored = next(one for one in taken if one and one.explores)
    wishes = advice.advise(Wishes(), _MODEL, explored)
    found = candidates(_SHARD, POOL, wishes, avoid={}, refused={}, used={})
    assert found[0].browser == "firefox-1"
    assert Taken.from_json(explored.to_json()) == explored
    run = Run(selection=explored.to_json())
    assert advice.platform_for(run, "firefox", ["wasm"], attempt=1) == "wasm"
    assert advice.platform_for(run, "firefox", ["webgpu"], attempt=1) == ""
    assert advice.platform_for(run, "firefox", ["wasm"], attempt=2) == ""


def test_what_must_not_explore_does_not(settings) -> None:
    settings.WEBPOOL_EXPLORE_SHARE = 1.0
    _publish([series(_noisy(10, 1), "chromium"), series(_noisy(10, 2), "firefox")])
    none = frozenset[str]()
    short = dataclasses.replace(POOL[1], short_of_memory=True)
    full = dataclasses.replace(POOL[1], memory_limit_mb=100.0, resident_bytes=99 * 2**20)
    down = dataclasses.replace(POOL[1], state="recovering")
    broken = dataclasses.replace(POOL[1], breaker="open")
    for other in (short, full, down, broken):
        assert {w.kind for w in advice.feasible(_SHARD, [POOL[0], other], none)} == {"chromium"}
    assert {w.kind for w in advice.feasible(_SHARD, POOL, frozenset({"firefox"}))} == {"chromium"}
    for _ in range(20):
        critical = advice.select(_MODEL, _SHARD, POOL, Wishes(critical=True), POOL[0])
        assert critical is not None
        assert not critical.explores
        assert advice.select(_MODEL, _SHARD, POOL, Wishes(platform="wasm"), POOL[0]) is None


def test_the_backend_that_was_faster_is_applied_and_the_rest_is_left_out_with_reasons(
    settings,
) -> None:
    settings.WEBPOOL_EXPLORE_SHARE = 0.0
    _publish([
        series(_noisy(10, 1), "chromium", "webgpu", software=False),
        series(_noisy(30, 2), "chromium", "wasm"),
        series(_noisy(50, 3), "firefox", "wasm"),
    ])  # fmt: skip
    found = advice.select(_MODEL, _SHARD, POOL, Wishes(), POOL[0])
    assert found is not None
    assert found.platforms == {"chromium": "webgpu"}
    config = BrowserRecommendation.objects.get().config
    assert config["applied"]["platform"] == {"value": "webgpu", "basis": "measured", "samples": 40}
    assert config["applied"]["batch"]["value"] is None, "one size was measured"
    assert "threads" in config["left_out"]
    assert optimized_config(None).browser is None


def _at_first(pool: list[BrowserView], work_type: str) -> str:
    advised = advice.advise(Wishes(), _MODEL, None, work_type)
    return candidates(_SHARD, pool, advised, avoid={}, refused={}, used={})[0].browser


def test_a_documented_preference_counts_only_where_nothing_was_measured() -> None:
    quick = _browser("firefox", backends=(BackendView("wasm", None, 0.5),))
    chromium = _browser("chromium")
    assert _at_first([chromium, quick], "vision") == "chromium-1"
    assert _at_first([_browser("firefox"), chromium], "audio") == "firefox-1"
    assert _at_first([chromium, quick], "other") == "firefox-1", "by its probe"
    assert _at_first([chromium, quick], "text") == "firefox-1", "there is no Edge"
    busy = dataclasses.replace(chromium, outstanding=1)
    assert _at_first([busy, quick], "vision") == "firefox-1", "a preference is not worth a queue"
    measured = dataclasses.replace(quick, loaded={"ab" * 32: 3.0})
    assert _at_first([chromium, measured], "vision") == "firefox-1"


def test_what_is_known_of_a_kind_of_work_places_its_shards() -> None:
    quick = _browser("firefox", backends=(BackendView("wasm", None, 0.5),))
    for kind, score in (("chromium", 90.0), ("firefox", 30.0)):
        CapabilityScore.objects.create(
            timestamp=timezone.now(), browser=kind, model_type="attention", score=score,
            confidence=0.9, sample_size=20, low=score, high=score,
        )  # fmt: skip
    advice.clear_cache()
    assert _at_first([_browser("chromium"), quick], "attention") == "chromium-1"
    assert _at_first([_browser("chromium"), quick], "feed_forward") == "firefox-1"
