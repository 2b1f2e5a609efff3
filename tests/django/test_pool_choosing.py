"""Who chooses the browser in get_model: the caller, else history, else placement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import timezone

from browsers.state.live import LiveBackend, LiveBrowser
from history.models import BasedOn, BrowserRecommendation
from inference.client.choosing import choose
from inference.client.model import Selection
from inference.models import OnnxModel
from inference.scheduling import advice

pytestmark = pytest.mark.django_db
MODEL = OnnxModel(name="minilm", model_type="text")


def living(kind: str, *backends: str) -> LiveBrowser:
    return LiveBrowser(
        id=f"{kind}-1", kind=kind, family=kind, version="1", zone="local", state="ready", worker="w",
        heartbeat=0.0, backends=tuple(LiveBackend(name, None, 1.0) for name in backends),
    )  # fmt: skip


POOL = [living("chromium", "wasm"), living("firefox", "wasm", "webgpu")]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    advice.clear_cache()
    yield
    advice.clear_cache()


def publish(browser: str, platform: str) -> None:
    BrowserRecommendation.objects.create(
        timestamp=timezone.now(), model_type="text", model_name="minilm", recommended_browser=browser,
        recommended_platform=platform, confidence=0.9, sample_size=40, based_on=BasedOn.MODEL,
    )  # fmt: skip
    advice.clear_cache()


def chosen(*, with_history: bool = True, bounded: bool = True, **options: object) -> Selection:
    return choose(MODEL, options, POOL, with_history=with_history, bounded=bounded)


def test_the_caller_wins_over_history() -> None:
    publish("firefox", "webgpu")
    assert chosen(browsers=("chromium",)).by == "caller"
    assert chosen(platform="wasm").by == "caller"
    assert chosen(pins={0: "chromium"}).by == "caller"


def test_history_decides_where_nobody_asked() -> None:
    publish("firefox", "webgpu")
    bounded = chosen()
    assert (bounded.by, bounded.browsers, bounded.platform) == ("history", ("firefox",), "webgpu")
    assert "confidence 0.90, 40 samples" in bounded.why
    assert chosen(bounded=False).browsers == (), "then each run is decided when it is made"
    assert chosen(bounded=False).by == "history"


def test_placement_decides_where_history_is_empty_or_off_or_recommends_who_is_not_there() -> None:
    assert chosen().by == "placement"
    publish("edge", "webnn")
    assert (chosen().by, chosen().browsers) == ("placement", ())
    assert "edge/webnn" in chosen().why
    assert chosen(with_history=False).by == "placement"


def test_placement_decides_where_history_recommends_no_browser() -> None:
    """The model fails in all of those of which enough is known: such a row has evidence alone."""
    publish("", "")
    assert (chosen().by, chosen().browsers) == ("placement", ())
    assert (
        chosen(bounded=False).why
        == "history recommends nothing for it; runs go where they end first"
    )


def test_history_names_one_browser_and_redundancy_needs_two() -> None:
    publish("firefox", "wasm")
    assert chosen(redundancy="first").by == "placement"
    assert chosen(redundancy="").by == "history"
