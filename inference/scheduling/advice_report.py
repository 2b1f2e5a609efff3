"""What the pool's choices cost, read from the ledger's runs with propensities."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import numpy as np

from browsers import clock
from browsers.models import Browser
from inference.core.exploration import Arm, Taken
from inference.core.regret import Outcome, Regret, regret
from inference.documents import JsonObject
from inference.models import Attempt
from inference.models import Outcome as Ended


def regrets(*, model: str | None = None, days: float = 7.0) -> list[JsonObject]:
    """Per model and plan, warm first attempts only, as the arm that was chosen really ran it."""
    kinds = dict(Browser.objects.values_list("id", "kind"))
    rows = Attempt.objects.filter(
        outcome=Ended.SUCCEEDED, number=1, warm=True, compute_ms__gt=0,
        shard__run__selection__isnull=False,
        finished_at__gte=clock.now() - timedelta(days=days),
    )  # fmt: skip
    if model is not None:
        rows = rows.filter(shard__run__model__name=model)
    groups: dict[tuple[str, int], list[Outcome]] = defaultdict(list)
    columns = "shard__run__model__name", "shard__run__plan_id", "shard__run__selection"
    for name, plan, selected, browser, backend, took in rows.values_list(
        *columns, "browser", "backend", "compute_ms"
    ):
        arm = Arm(kinds.get(browser, ""), backend)
        # Sent elsewhere for the load's sake: not what the propensity is of.
        chosen = Taken.from_json(selected)
        if arm == chosen.arm:
            groups[name, plan].append(Outcome(arm, chosen.propensity, took))
    return [
        _shown(name, plan, regret(outcomes, np.random.default_rng(0)))
        for (name, plan), outcomes in sorted(groups.items())
    ]


def _shown(model: str, plan: int, found: Regret) -> JsonObject:
    return {
        "model": model,
        "plan": plan,
        "mean_ms": found.mean_ms,
        "best": _name(found.best) if found.best else None,
        "regret_ms": found.regret_ms,
        "low_ms": found.low_ms,
        "high_ms": found.high_ms,
        "arms": [
            {"arm": _name(arm), "runs": runs, "expected_ms": found.arms.get(arm)}
            for arm, runs in sorted(found.runs.items())
        ],
    }


def _name(arm: Arm) -> str:
    return f"{arm.kind}/{arm.platform}"
