"""A campaign's figures, as JSON and as lines on a terminal."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from webpool_site.lab.faults.campaign import Result
from webpool_site.lab.faults.proof import Proof

COLUMNS = (
    "scenario", "strategy", "browser", "standby", "hits", "right", "recovery p50 ms", "recovery p95 ms",
    "undisturbed p50 ms", "whole again p50 s", "whole again p95 s", "moved", "retried", "repairs",
)  # fmt: skip


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "platform": platform.platform()}


def percentile(samples: Sequence[float], share: float) -> float | None:
    """None without samples: what was not measured is unknown."""
    return round(float(np.percentile(samples, share)), 1) if samples else None


def figures(result: Result) -> dict[str, Any]:
    """One case as JSON; times in ms or s, null where nothing was measured."""
    case, hits = result.case, result.hits
    return {
        "scenario": case.scenario.name,
        "about": case.scenario.about,
        "strategy": case.strategy,
        "browser": case.browser,
        "family": result.family,
        "platform": case.scenario.platform,
        "standby": case.standby,
        "not_applicable": result.not_applicable or None,
        "hits": len(hits),
        "missed": len(result.trials) - len(hits),
        "right": sum(trial.right is True for trial in hits),
        "success_rate": round(sum(t.right is True for t in hits) / len(hits), 4) if hits else None,
        "wrong": sum(trial.right is False for trial in result.trials),
        "failed": dict(Counter(t.category or t.state for t in result.trials if t.right is None)),
        "undisturbed_p50_ms": percentile(result.undisturbed_ms, 50),
        "recovery_p50_ms": percentile(result.delays_ms, 50),
        "recovery_p95_ms": percentile(result.delays_ms, 95),
        "whole_again_p50_s": percentile(result.healed_s, 50),
        "whole_again_p95_s": percentile(result.healed_s, 95),
        "retries": sum(trial.retries for trial in hits),
        "reroutes": sum(trial.reroutes for trial in hits),
        "repairs": dict(Counter(result.repairs)),
        "orphans": list(result.orphans),
        "runs": [dataclasses.asdict(trial) for trial in result.trials],
    }


def bad(case: Mapping[str, Any]) -> bool:
    """Whether a case shows a fault of ours: an answer that is wrong or missing, or a process left."""
    return bool(case["wrong"] or case["failed"] or case["orphans"])


def summary(
    cases: Sequence[Mapping[str, Any]], proof: Proof, left: Sequence[str]
) -> dict[str, Any]:
    tried = [case for case in cases if not case["not_applicable"]]
    return {
        "cases": len(tried),
        "not_applicable": len(cases) - len(tried),
        "hits": sum(case["hits"] for case in tried),
        "right": sum(case["right"] for case in tried),
        "lost": len(proof.lost),
        "doubled": len(proof.doubled),
        "wrong": sum(case["wrong"] for case in tried),
        "failed": dict(sum((Counter(case["failed"]) for case in tried), Counter[str]())),
        "orphans": [*(name for case in tried for name in case["orphans"]), *left],
    }


def passed(report: Mapping[str, Any]) -> bool:
    summary = report["summary"]
    rough = [*report["flapping"], *report["memory_pressure"]]
    if any(not each["not_applicable"] and each["right"] != each["asked"] for each in rough):
        return False
    if any(each["right"] != each["texts"] for each in report["generation"]):
        return False
    return report["proof"]["holds"] and not (
        summary["lost"]
        or summary["doubled"]
        or summary["wrong"]
        or summary["failed"]
        or summary["orphans"]
    )


def cells(case: Mapping[str, Any]) -> list[str]:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:g}"

    return [
        case["scenario"], case["strategy"], case["browser"], "warm" if case["standby"] else "none",
        str(case["hits"]), str(case["right"]),
        *(shown(case[key]) for key in ("recovery_p50_ms", "recovery_p95_ms", "undisturbed_p50_ms",
                                       "whole_again_p50_s", "whole_again_p95_s")),
        str(case["reroutes"]), str(case["retries"]),
        ", ".join(f"{n}× {what}" for what, n in case["repairs"].items()),
    ]  # fmt: skip


def lines(report: Mapping[str, Any]) -> list[str]:
    """The table as text."""
    tried = [case for case in report["cases"] if not case["not_applicable"]]
    rows = [cells(case) for case in tried]
    shown = tabulate(rows, COLUMNS, tablefmt="plain", disable_numparse=True).splitlines()
    shown += [
        f"not applicable: {case['scenario']}, {case['strategy']}, {case['browser']}: "
        f"{case['not_applicable']}"
        for case in report["cases"]
        if case["not_applicable"]
    ]
    shown += [flapped(each) for each in report["flapping"]]
    shown += [pressed(each) for each in report["memory_pressure"]]
    shown += [written(each) for each in report["generation"]]
    counted = report["summary"]
    shown.append(
        f"{counted['right']} of {counted['hits']} right; lost {counted['lost']}, doubled "
        f"{counted['doubled']}, wrong {counted['wrong']}, failed {sum(counted['failed'].values())}, "
        f"orphans {len(counted['orphans'])}; seed {report['seed']}"
    )
    return shown


def pressed(figures: Mapping[str, Any]) -> str:
    """A machine short of memory in one line."""
    if figures["not_applicable"]:
        return f"not applicable: memory_pressure: {figures['not_applicable']}"
    reliefs = ", ".join(f"{n}× {what}" for what, n in figures["reliefs"].items()) or "no relief"
    return (
        f"memory_pressure: {figures['taken_mb']} MB taken by another process; {reliefs}; "
        f"{figures['given_back_mb']} MB given back; requests p95 {figures['pressed_p95_ms']} ms, before "
        f"{figures['calm_p95_ms']} ms; {figures['right']} of {figures['asked']} right"
    )


def flapped(figures: Mapping[str, Any]) -> str:
    """A flapping browser in one line."""
    if figures["not_applicable"]:
        return f"not applicable: flapping, {figures['browser']}: {figures['not_applicable']}"
    return (
        f"flapping: {figures['browser']} killed {figures['kills']} times; requests p95 "
        f"{figures['flapping_p95_ms']} ms, without it {figures['healthy_p95_ms']} ms: "
        f"ratio {figures['p95_ratio']}; "
        f"{figures['right']} of {figures['asked']} right"
    )


def written(figures: Mapping[str, Any]) -> str:
    """Texts that were hurt while they were written, in one line."""
    pauses = "; ".join(
        f"{target}: p50 {each['p50']} ms, p95 {each['p95']} ms of {each['n']}"
        + "".join(
            f", {part} {each[f'{part}_p50']} ms"
            for part in ("noticed", "opened", "resumed")
            if each[f"{part}_p50"] is not None
        )
        for target, each in figures["pause_ms"].items()
    )
    return (
        f"generation: {figures['right']} of {figures['texts']} texts of {figures['tokens']} tokens right "
        f"over {figures['stages']} stages, {figures['with_standbys']} with standbys; {figures['hurt']} were "
        f"hit by {figures['kills']} kills; lost {figures['lost']}, wrong {figures['wrong']}, repeated tokens "
        f"{figures['repeated']}; pauses: {pauses or 'none'}"
    )
