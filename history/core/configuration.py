"""How a model is best loaded in the recommended browser: what is really applied, and on what evidence.

The backend is chosen at load (inference/scheduling/advice.py asks for it), the batch where a batch job names
none (inference/batches/jobs.py). What a page fixes for all its models, or a model's file itself, cannot be
applied to one model: it is left out, with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from history.core.batching import best_batch
from history.core.recommendations import Basis, Recommendation, Standing

LEFT_OUT: Final[Mapping[str, str]] = {
    "bundle": "a page loads one build of onnxruntime-web for all its models, by what its browser can do",
    "threads": "an engine has one number of threads for all its models (WEBPOOL_THREADS)",
    "precision": "it is that of the model's file",
    "kv_location": "no model keeps a key/value cache in the browser yet",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """`basis`: "measured", or "default" where too little was: webpool's own choice (value None)."""

    value: str | int | None
    basis: str
    samples: int


@dataclasses.dataclass(frozen=True)
class OptimizedConfig:
    """`browser` None: history knows nothing. `left_out`: setting → why it is not applied."""

    browser: str | None
    platform: Setting
    batch: Setting
    left_out: Mapping[str, str]


def optimized_config(recommendation: Recommendation | None) -> OptimizedConfig:
    """Measured where the recommended browser was compared on more than one backend; else the default."""
    default = Setting(None, "default", 0)
    if recommendation is None:
        return OptimizedConfig(None, default, default, LEFT_OUT)
    measured = {
        one.platform
        for one in recommendation.evidence
        if one.browser == recommendation.browser
        and one.ratio is not None
        and one.standing != Standing.REFUSED
    }
    known = recommendation.based_on in (Basis.MODEL, Basis.MODEL_TYPE) and len(measured) > 1
    platform = (
        Setting(recommendation.platform, "measured", recommendation.sample_size)
        if known
        else default
    )
    return OptimizedConfig(recommendation.browser, platform, _batch(recommendation), LEFT_OUT)


def _batch(recommendation: Recommendation) -> Setting:
    size = best_batch(recommendation.batches)
    if size is None:
        return Setting(None, "default", 0)
    return Setting(size, "measured", sum(one.samples for one in recommendation.batches))


def published(recommendation: Recommendation) -> dict[str, Any]:
    """The `config` of a published recommendation: settings, evidence and practical equals, as JSON."""
    config = optimized_config(recommendation)
    return {
        "applied": {
            "platform": dict(vars(config.platform)),
            "batch": dict(vars(config.batch)),
        },
        "left_out": dict(config.left_out),
        "equivalent": list(recommendation.equivalent),
        "evidence": [dict(vars(one)) for one in recommendation.evidence],
        "batches": [dict(vars(one)) for one in recommendation.batches],
    }
