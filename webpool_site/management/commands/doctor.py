"""manage.py doctor: what is here, what is missing and what to do; exit code 1 when no pool can run."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from inference.management.cli import WebpoolCommand
from webpool_site.doctor import machine, pool, services
from webpool_site.doctor.finding import Finding, Level
from webpool_site.instance import Instance

SIGNS = {Level.OK: "✓", Level.NOTE: "!", Level.MISSING: "–", Level.UNTRIED: "?", Level.BAD: "✗"}


class Command(WebpoolCommand):
    help = "Say what this machine can run, what is missing, and the remedy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="machine-readable")

    def handle(self, *_: Any, json: bool, **options: Any) -> None:
        home = settings.WEBPOOL_HOME
        instance = Instance(home)
        runs = instance.running()
        findings = [
            *pool.findings(home),
            *services.findings(home, redis_url=settings.WEBPOOL_REDIS_URL),
            *machine.findings(
                home, host=settings.WEBPOOL_HOST, port=_port(instance), pool_runs=runs
            ),
        ]
        can_run = not any(finding.level is Level.BAD for finding in findings)
        self.stdout.write(_as_json(findings, can_run) if json else _as_text(findings, can_run))
        if not can_run:
            sys.exit(1)


def _port(instance: Instance) -> int:
    """The running pool's port, which may not be the one of this environment."""
    address = instance.facts().get("address") if instance.running() else None
    port = str(address).rpartition(":")[2] if address else ""
    return int(port) if port.isdigit() else settings.PORT


def _as_json(findings: list[Finding], can_run: bool) -> str:
    listed = [dataclasses.asdict(finding) for finding in findings]
    return json.dumps({"can_run": can_run, "findings": listed}, indent=2, default=str)


def _as_text(findings: list[Finding], can_run: bool) -> str:
    lines = []
    for area, group in itertools.groupby(findings, key=lambda finding: finding.area):
        lines.append(area)
        for one in group:
            lines.append(f"  {SIGNS[one.level]} {one.name:<22} {one.text}")
            if one.level is Level.UNTRIED:
                lines.append(f"    {'':<22} untried: cannot be had here; {one.remedy}")
            elif one.remedy:
                lines.append(f"    {'':<22} → {one.remedy}")
    lines.append("the pool can run" if can_run else "the pool cannot run: see ✗ above")
    return "\n".join(lines)
