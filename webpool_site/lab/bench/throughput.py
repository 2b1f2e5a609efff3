"""What more browsers and more streams bring, and how busy each browser was computing meanwhile."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from inference.runs import creation
from inference.runs.metrics import run_metrics
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row
from webpool_site.lab.bench.strategies import WARM_UP, Member, members


def measure(pool: Pool) -> Iterator[Row]:
    """A batch over three browsers against one, four streams over layer shards against one stream."""
    n = max(10, pool.n // 5)
    browsers = pool.ids[:3]
    (member,) = (item for item in members() if item.name == "bench-bert")
    one = _streams(member, 1, n, strategy="none", browsers=tuple(browsers[:1]))
    split = _streams(member, 1, n, strategy="data", shards=len(browsers), browsers=tuple(browsers))
    yield dataclasses.replace(one, name=f"one stream, whole, {browsers[0]}")
    yield dataclasses.replace(
        split,
        name=f"one stream, its batch over {len(browsers)} browsers",
        facts={**split.facts, "times_one": _ratio(split, one)},
    )
    wanted = {"strategy": "layer", "shards": len(browsers), "browsers": tuple(browsers)}
    single = _streams(member, 1, n, **wanted)
    four = _streams(member, 4, n, **wanted)
    yield dataclasses.replace(single, name=f"one stream, {len(browsers)} layer shards")
    yield dataclasses.replace(
        four,
        name=f"four streams, {len(browsers)} layer shards",
        facts={**four.facts, "times_one": _ratio(four, single)},
    )


def _ratio(row_: Row, base: Row) -> float:
    return round(row_.facts["requests_per_s"] / base.facts["requests_per_s"], 2)


def _streams(member: Member, streams: int, n: int, **way: Any) -> Row:
    """Requests one after another in each stream; how busy each browser was computing."""
    request = creation.RunRequest(
        model=member.name, inputs=member.inputs, platform="wasm", owner="bench", **way
    )
    for _ in range(WARM_UP):
        creation.infer(request)

    def stream(_: int) -> list[tuple[float, creation.Run]]:
        done = []
        for _number in range(n):
            began = time.perf_counter()
            run, _outputs = creation.infer(request)
            done.append(((time.perf_counter() - began) * 1000, run))
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as threads:
        answered = [item for done in threads.map(stream, range(streams)) for item in done]
    seconds = time.perf_counter() - began
    busy: dict[str, float] = {}
    for _, run in answered:
        for shard in run_metrics(run)["shards"]:
            busy[shard["browser"]] = busy.get(shard["browser"], 0.0) + shard["compute_ms"] / 1000
    utilisation = {
        f"busy_{name}": round(spent / seconds, 2) for name, spent in sorted(busy.items())
    }
    return row(
        "", [ms for ms, _ in answered], requests_per_s=round(len(answered) / seconds, 1),
        **utilisation,
    )  # fmt: skip
