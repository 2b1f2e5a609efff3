"""manage.py bench: measure the pool's overheads, print them and write them as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from browsers.live import living
from inference import registry
from inference.management.cli import WebpoolCommand
from inference.zoo import micro
from webpool_site.bench import cases, strategies
from webpool_site.bench.stats import Row
from webpool_site.stack import Stack


class Command(WebpoolCommand):
    help = "Measure overheads with the page's own compute subtracted, beside baselines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("-n", type=int, default=100, help="requests per case")
        parser.add_argument("--output", type=Path, default=Path("bench.json"))

    def handle(self, *_: Any, **options: Any) -> None:
        _register_models()
        rows: list[Row] = []
        remarks: list[str] = []
        with Stack(out=self.stdout.write) as stack:
            browsers = sorted(
                living().values(), key=lambda b: min(x.probe_ms or 1e9 for x in b.backends)
            )
            self.stdout.write(f"{'case':<72}{'n':>5}{'median ms':>11}{'p95 ms':>9}  goal")
            for row in _measure(
                [b.id for b in browsers], browsers[0].kind, stack.layout.port, options["n"]
            ):
                if isinstance(row, str):
                    remarks.append(row)
                    self.stdout.write(row)
                else:
                    rows.append(row)
                    self._print(row)
        report = {
            "machine": {"cores": os.cpu_count(), "platform": platform.platform()},
            "browsers": {b.id: b.version for b in browsers},
            "threads_per_browser": settings.WEBPOOL_THREADS,
            "remarks": remarks,
            "rows": [{**dataclasses.asdict(row), "reached": row.reached} for row in rows],
        }
        temporary = options["output"].with_suffix(".part")
        temporary.write_text(json.dumps(report, indent=2))
        temporary.replace(options["output"])
        self.stdout.write(f"written to {options['output']}")

    def _print(self, row: Row) -> None:
        goal = "" if row.goal_ms is None else f"≤ {row.goal_ms:g}: {'yes' if row.reached else 'NO'}"
        facts = "  ".join(f"{name}={_short(value)}" for name, value in row.facts.items())
        self.stdout.write(
            f"{row.name:<72}{row.n:>5}{row.median_ms:>11.2f}{row.p95_ms:>9.2f}  {goal}  {facts}".rstrip()
        )


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _register_models() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, build in (("bench-chain", micro.chain), ("bench-add", micro.add_one)):
            registry.add_model(build(Path(folder) / f"{name}.onnx"), name=name)


def _measure(browsers: list[str], kind: str, port: int, n: int) -> Iterator[Row | str]:
    yield from cases.pool_cases(browsers, n)
    yield cases.http_case(port, browsers[0], n)
    yield cases.concurrency_case(200)
    yield cases.baseline_celery(n)
    yield cases.baseline_onnxruntime(n)
    yield from cases.baseline_page(kind, n)
    yield from strategies.strategy_cases(max(10, n // 5))
    yield from strategies.throughput_cases(max(10, n // 5))
