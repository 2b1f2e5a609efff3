"""A comparison as one document: what the command, REST, the pages, the HTML file and JUnit tell."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from inference.comparisons import regressions
from inference.comparisons.earlier import Earlier
from inference.core.comparisons.cells import BAD, OPEN, CellState, label
from inference.core.comparisons.differences import Difference, differences, said, too_few
from inference.core.comparisons.figures import COVERAGE, figures
from inference.core.comparisons.operators import operator_at_fault
from inference.documents import JsonObject, JsonView
from inference.models import Comparison, ComparisonCell
from webpool_site.telling import units

_CPU: Final = "CPUExecutionProvider"
_WASM: Final = "wasm"
_OF_NO_ANSWER: Final = (CellState.UNTRIED, CellState.MEASURING, CellState.WAITING)
_SUMMED: Final = {CellState.MEASURED: "right"}
METHODS: Final = (
    f"Medians and 95th percentiles with intervals of {COVERAGE:.0%} by order statistics; an end that so few "
    "runs do not bound is unknown. Differences: Mann–Whitney's U of every pair, corrected by Holm; ratios by "
    "Hodges and Lehmann. Every round runs each cell once, in random order, one run at a time; the first run "
    "of a cell is apart; it and the load are unknown where the model was there already. Memory is the "
    "largest seen of the browser's processes between two runs."
)


def document(comparison: Comparison) -> JsonObject:
    """All of it, as JSON can say it; what was not measured is null."""
    cells = list(comparison.cells.all())
    bits = _same_bits(comparison, cells)
    before = Earlier(comparison)
    found = differences({str(cell): cell.samples for cell in cells})
    return {
        "id": str(comparison.pk),
        "model": comparison.model.name,
        "model_sha256": comparison.model_sha256,
        "state": comparison.state,
        "note": comparison.note,
        "asked": {**comparison.asked, "runs": comparison.runs, "inputs": comparison.source},
        "seed": comparison.seed,
        "inputs": comparison.inputs,
        "reference": comparison.reference,
        "owner": comparison.owner,
        "scheduled": comparison.scheduled,
        "created_at": comparison.created_at.isoformat(),
        "ended_at": comparison.ended_at.isoformat() if comparison.ended_at else None,
        "runs_done": sum(cell.turns for cell in cells),
        "cells": [_cell(cell, bits[cell.index], before) for cell in cells],
        "differences": [{**dataclasses.asdict(one), "shown": one.shown} for one in found],
        "summary": summary(cells),
        "said": sentences(comparison, cells, found),
        **regressions.found(cells, before),
        "methods": METHODS,
    }


def _cell(cell: ComparisonCell, same_bits: Sequence[str], before: Earlier) -> JsonObject:
    found = figures(cell.samples)
    state = before.state(cell)
    failed = cell.state == CellState.FAILED
    return {
        "name": str(cell),
        "browser": cell.browser,
        "kind": cell.kind,
        "version": cell.version,
        "backend": cell.backend,
        "strategy": cell.strategy,
        "adapter": cell.adapter,
        "software": cell.software,
        "state": cell.state,
        "before": state.value if state else None,
        "reason": cell.reason,
        "error_category": cell.error_category,
        "operator": operator_at_fault(cell.reason) if failed else "",
        "median_ms": dataclasses.asdict(found.median) if found else None,
        "p95_ms": dataclasses.asdict(found.p95) if found else None,
        "first_ms": cell.first_ms,
        "load_ms": cell.load_ms,
        "memory_mb": cell.memory_mb,
        "largest_difference": cell.largest_difference,
        "same_bits": list(same_bits),
        "varies": cell.varies,
        "nodes": cell.nodes,
        "on_cpu": cell.nodes.get(_CPU, 0) if cell.nodes and cell.backend != _WASM else None,
        "shards": [_shard(shard) for shard in cell.shards],
        "unproved": cell.unproved,
        "samples_ms": cell.samples,
        "runs": cell.run_ids,
        "earlier": before.told(cell.place),
    }


def _shard(shard: JsonView) -> JsonObject:
    samples = shard["samples"]
    return {
        "name": shard["name"],
        "nodes": shard["nodes"],
        "median_ms": statistics.median(samples) if samples else None,
    }


def _same_bits(comparison: Comparison, cells: Sequence[ComparisonCell]) -> dict[int, list[str]]:
    """By index, who else answered with the same bits, onnxruntime among them; none of those that vary."""
    known = [(str(cell), cell.output_sha256) for cell in cells if not cell.varies]
    known.append(("native onnxruntime", comparison.reference["output_sha256"]))
    return {
        cell.index: [
            name for name, bits in known if name != str(cell) and bits == cell.output_sha256
        ]
        if cell.output_sha256 and not cell.varies
        else []
        for cell in cells
    }


def sentences(
    comparison: Comparison, cells: Sequence[ComparisonCell], found: Sequence[Difference]
) -> list[str]:
    """What the comparison shows, in words: what is not right first, then who differs from the fastest."""
    told = _bad_said(cells)
    if why := comparison.reference["not_judged"]:
        told.append(f"No answer is judged: {why}")
    told += _same_bits_said(cells)
    told += [
        f"{cell} left {cell.nodes[_CPU]} of {sum(cell.nodes.values())} nodes to the CPU provider"
        for cell in cells
        if cell.backend != _WASM and cell.nodes.get(_CPU)
    ]
    if why := too_few({str(cell): cell.samples for cell in cells}):
        told.append(why)
    elif found:
        fastest = found[0].faster
        told += [said(one) for one in found if one.faster == fastest]
    return [f"{one.rstrip('.')}." for one in told]


def _bad_said(cells: Sequence[ComparisonCell]) -> list[str]:
    """What is wrong and what failed, each reason once, with the places it holds for."""
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in cells:
        if cell.state in BAD:
            why = cell.wrong if cell.state == CellState.WRONG else cell.reason
            names[cell.state, first_line(why)].append(str(cell))
    verbs = {CellState.WRONG: ("is wrong", "are wrong"), CellState.FAILED: ("failed", "failed")}
    return [
        f"{', '.join(found)} {verbs[CellState(state)][len(found) > 1]}: {why}"
        for (state, why), found in names.items()
    ]


def summary(cells: Sequence[ComparisonCell]) -> str:
    """The whole comparison in a line: in how many places it is right, where it is fastest."""
    count = Counter(cell.state for cell in cells)
    ended = [state for state in CellState if count[state] and state not in _OF_NO_ANSWER]
    told = [f"{count[state]} {_SUMMED.get(state, state)}" for state in ended]
    good = [cell for cell in cells if cell.samples and cell.state not in (*BAD, *OPEN)]
    if good:
        fastest = min(good, key=lambda cell: statistics.median(cell.samples))
        took = units.milliseconds(statistics.median(fastest.samples))
        told.append(f"fastest {fastest}, median {took}")
    told += [f"{count[state]} {state}" for state in _OF_NO_ANSWER if count[state]]
    return "; ".join(told)


def _same_bits_said(cells: Sequence[ComparisonCell]) -> list[str]:
    of_wasm = [cell for cell in cells if cell.backend == _WASM and cell.output_sha256]
    told = [
        f"{cell} answered the same inputs with other bits from run to run"
        for cell in of_wasm
        if cell.varies
    ]
    steady = [cell for cell in of_wasm if not cell.varies]
    if len(steady) > 1:
        bits = {cell.output_sha256 for cell in steady}
        names = ", ".join(label(cell.browser, strategy=cell.strategy) for cell in steady)
        same = "the same bits" if len(bits) == 1 else f"{len(bits)} different answers to the bit"
        told.append(f"wasm in {names}: {same}")
    return told


def first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def interval(quantile: Mapping[str, float | None] | None) -> str:
    """`58.4 ms (57.3 ms to 71.4 ms)`, for people."""
    if quantile is None:
        return units.UNKNOWN
    if quantile["low"] is None and quantile["high"] is None:
        return f"{units.milliseconds(quantile['value'])} (too few runs for an interval)"
    low, high = (units.milliseconds(quantile[end]) for end in ("low", "high"))
    return f"{units.milliseconds(quantile['value'])} ({low} to {high})"
