"""What one caller costs another: in the same browser, by large JSON, by requests without a pause."""

from __future__ import annotations

from collections.abc import Iterator

from webpool_site.lab.bench.fairness import floods, large_json, queued
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row
from webpool_site.lab.bench.strategies import members


def measure(pool: Pool) -> Iterator[Row | str]:
    (member,) = (item for item in members() if item.name == "bench-bert")
    yield from queued.measure(pool, member)
    yield from large_json.measure(pool, member)
    yield from floods.measure(pool, member)
