"""What history answers, as pictures: a picture per work, because only the same work is compared."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.safestring import SafeString

from history.answers import Line
from history.charts import intervals, latency
from history.charts.intervals import Row
from history.core.series import Arm


@dataclasses.dataclass(frozen=True)
class Picture:
    """One work: which file and shapes it is, how many samples, and the drawing."""

    name: str
    samples: int
    drawing: SafeString


def works_over_time(lines: Sequence[Line]) -> list[Picture]:
    """Latency over time, the work with most samples first."""
    by_work: dict[tuple[str, str, int], list[Line]] = defaultdict(list)
    for line in lines:
        by_work[line.sha256, line.shape, line.batch_size].append(line)
    found = [
        (sum(len(line.times) for line in together), _work(*work), together)
        for work, together in by_work.items()
    ]
    found.sort(key=lambda one: (-one[0], one[1]))
    return [
        Picture(name, size, latency.draw(_strips(together), name=f"latency-{at}"))
        for at, (size, name, together) in enumerate(found)
    ]


def _strips(lines: Sequence[Line]) -> list[latency.Strip]:
    strips = [latency.strip_of(line) for line in lines]
    return sorted(strips, key=lambda strip: strip.name)


def compared_works(works: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Medians with intervals, from `answers.compare`; the work with most samples first."""
    found = []
    for one in works:
        work, arms = one["work"], one["arms"]
        name = _work(work["sha256"] or "", work["shape"] or "", work["batch_size"] or 0)
        load = "unknown" if work["load"] is None else work["load"]
        size = sum(arm["samples"] for arm in arms)
        found.append((size, f"{name}, load {load}", [_compared(arm) for arm in arms]))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [
        Picture(name, size, intervals.draw(rows, name=f"comparison-{at}", unit="ms"))
        for at, (size, name, rows) in enumerate(found)
    ]


def _compared(arm: Mapping[str, Any]) -> Row:
    return Row(
        _arm(arm), arm["samples"], arm["median_ms"], arm["low_ms"], arm["high_ms"], _verdict(arm)
    )


def _verdict(arm: Mapping[str, Any]) -> str:
    if arm["ratio"] is None or arm["p_value"] is None:
        return str(arm["verdict"])
    p_value = "< 0.001" if arm["p_value"] < 0.001 else f"= {arm['p_value']:.3f}"
    return f"{arm['verdict']}: × {arm['ratio']:.2f}, p {p_value}"


def evidence(config: Mapping[str, Any]) -> list[Row]:
    """What a published recommendation keeps of every arm: cost of an answer relative to the best."""
    return [
        Row(
            _arm(item),
            item["samples"],
            item["ratio"],
            item["ratio_low"],
            item["ratio_high"],
            f"{item['standing']}; {item['successes']} of "
            f"{item['successes'] + item['failures']} succeeded",
        )
        for item in config.get("evidence", ())
    ]


def _arm(item: Mapping[str, Any]) -> str:
    return str(Arm(item["browser"], item["platform"] or "", item["software"]))


def _work(sha256: str, shape: str, batch_size: int) -> str:
    batch = f", batch {batch_size}" if batch_size else ""
    return f"file {sha256[:8] or 'unknown'}, shapes {shape or 'unknown'}{batch}"
