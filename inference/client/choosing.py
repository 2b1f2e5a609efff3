"""Who chooses the browser of a model: the caller, else history, else placement."""

from __future__ import annotations

from collections.abc import Collection

from browsers.state.live import LiveBrowser
from inference.client.model import Selection
from inference.documents import JsonView
from inference.models import OnnxModel
from inference.scheduling.advice import recommend_for


def choose(
    model: OnnxModel,
    options: JsonView,
    pool: Collection[LiveBrowser],
    *,
    with_history: bool,
    bounded: bool,
) -> Selection:
    """The choice for a model with these options of a run.

    Without a bound on connections history decides run by run, with its share of exploration; with one
    it decides here, once.
    """
    browsers, platform = options.get("browsers", ()), options.get("platform", "")
    if browsers or platform or options.get("pins"):
        return Selection("caller", tuple(browsers), platform, "asked for")
    advice = recommend_for(model.model_type, model.name) if with_history else None
    if advice is None:
        known = "history recommends nothing for it" if with_history else "history is switched off"
        return Selection("placement", why=f"{known}; runs go where they end first")
    browser, backend = advice["recommended_browser"], advice["recommended_platform"]
    why = (
        f"{browser}/{backend or 'any'}, confidence {advice['confidence']:.2f}, "
        f"{advice['sample_size']} samples, based on {advice['based_on']}"
    )
    if not bounded:
        return Selection("history", why=why)
    if options.get("redundancy"):
        return Selection(
            "placement", why=f"history recommends one browser, two are asked for: {why}"
        )
    there = [one for one in pool if browser in (one.id, one.kind, one.family)]
    offered = {item.name for one in there for item in one.backends}
    if not there or (backend and backend not in offered):
        return Selection("placement", why=f"history recommends what the pool has not: {why}")
    return Selection("history", (browser,), backend, why)
