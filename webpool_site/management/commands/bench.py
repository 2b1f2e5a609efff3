"""manage.py bench: measure the pool, part by part, print it and write it as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from browsers.state.live import living
from inference.graph.atomic import atomic_write
from inference.management.cli import WebpoolCommand
from inference.management.places import check_place
from webpool_site.lab.bench.parts import PARTS, Line, Part, Pool, UnknownPart, chosen
from webpool_site.lab.bench.stats import Progress, Row, Table, short
from webpool_site.stack import Stack

_IMPORTS = "webpool_site.lab.bench.switches.preload"
_PARTS = "; ".join(f"{part.name}: {part.about}" for part in PARTS)


class Command(WebpoolCommand):
    help = "Measure the pool: overheads beside baselines, strategies, throughput."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("-n", type=int, default=100, help="requests per case")
        parser.add_argument("--part", default="", help=f"only these, by comma. {_PARTS}")
        parser.add_argument("--output", type=Path, default=Path("bench.json"))

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            parts = chosen(options["part"])
        except UnknownPart as unknown:
            raise CommandError(str(unknown), returncode=2) from unknown
        check_place("--output", options["output"])
        began = time.monotonic()
        report: dict[str, Any] = {
            "machine": {"cores": os.cpu_count(), "platform": platform.platform()},
            "threads_per_browser": settings.WEBPOOL_THREADS,
            "parts": {},
        }
        with_pool = [part for part in parts if part.uses_pool]
        if with_pool:
            self._in_pool(with_pool, report, options["n"])
        for part in parts:
            if not part.uses_pool:
                report["parts"][part.name] = self._measure(part, None)
        with atomic_write(options["output"]) as file:
            file.write(json.dumps(report, indent=2).encode())
        self._say(f"written to {options['output']} ({time.monotonic() - began:.0f} s)")
        if failed := [name for name, measured in report["parts"].items() if measured["failed"]]:
            raise CommandError(f"these parts failed: {', '.join(failed)}", returncode=1)

    def _in_pool(self, parts: Sequence[Part], report: dict[str, Any], n: int) -> None:
        with Stack(out=self.stdout.write, imports=_IMPORTS) as stack:
            found = living().values()
            browsers = sorted(found, key=lambda b: min(x.probe_ms or 1e9 for x in b.backends))
            report["browsers"] = {browser.id: browser.version for browser in browsers}
            for part in parts:
                pids = {child.name: child.pid for child in stack.status() if child.pid}
                pool = Pool(browsers=tuple(browsers), port=stack.layout.port, n=n, pids=pids)
                report["parts"][part.name] = self._measure(part, pool)

    def _measure(self, part: Part, pool: Pool | None) -> dict[str, Any]:
        """One part's lines, printed as they come; its failure does not cost the other parts."""
        self._say(f"\n== {part.name}: {part.about}")
        began = time.monotonic()
        measured: dict[str, Any] = {"rows": [], "tables": [], "remarks": [], "failed": None}
        try:
            for line in part.measure()(pool):
                if isinstance(line, Row) and not measured["rows"]:
                    self._say(f"{'case':<72}{'n':>5}{'median ms':>11}{'p95 ms':>9}  goal")
                self._say(_text(line))
                _keep(line, measured)
        except Exception as error:
            measured["failed"] = f"{type(error).__name__}: {error}"
            self._say(f"FAILED: {measured['failed']}")
        measured["seconds"] = round(time.monotonic() - began, 1)
        return measured

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _keep(line: Line, measured: dict[str, Any]) -> None:
    if isinstance(line, Row):
        measured["rows"].append({**dataclasses.asdict(line), "reached": line.reached})
    elif isinstance(line, Table):
        measured["tables"].append(line.to_json())
    elif not isinstance(line, Progress):
        measured["remarks"].append(line)


def _text(line: Line) -> str:
    if isinstance(line, str):
        return line
    if isinstance(line, Table):
        return line.text()
    goal = "" if line.goal_ms is None else f"≤ {line.goal_ms:g}: {'yes' if line.reached else 'NO'}"
    facts = "  ".join(f"{name}={short(value)}" for name, value in line.facts.items())
    return f"{line.name:<72}{line.n:>5}{line.median_ms:>11.2f}{line.p95_ms:>9.2f}  {goal}  {facts}".rstrip()
