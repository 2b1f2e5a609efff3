"""manage.py drain: a browser takes no new shards, until --undo."""

from __future__ import annotations

import dataclasses
import json
import time
from argparse import ArgumentParser
from typing import TypedDict

from inference.documents import JsonObject
from inference.ledger import draining
from inference.management.cli import TypedCommand

_LOOK_EVERY_S = 0.2


class _Options(TypedDict):
    browser: str
    undo: bool
    reason: str
    wait: float
    json: bool


class Command(TypedCommand[_Options]):
    help = (
        "Let a browser finish what it has and take nothing new; exit code 1: --wait was too short."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("browser", help="its id, as in /api/browsers/")
        parser.add_argument("--undo", action="store_true", help="it takes shards again")
        parser.add_argument("--reason", default="asked for by an operator", help="for the record")
        parser.add_argument(
            "--wait", type=float, default=0.0, metavar="S", help="until it holds nothing, at most S"
        )
        parser.add_argument("--json", action="store_true")

    def carry_out(self, options: _Options) -> None:
        browser_id = options["browser"]
        if options["undo"]:
            with self.acting("release", f"browser {browser_id}"):
                cleared = draining.undrain(browser_id)
            report: JsonObject = {"browser": browser_id, "was_drained": cleared}
            text = "takes shards again" if cleared else "was not drained"
        else:
            with self.acting("drain", f"browser {browser_id}") as said:
                now = draining.drain(browser_id, reason=options["reason"])
                said.detail = f"{options['reason']}: {now}"
            now = dataclasses.replace(now, left=self._wait(browser_id, now.left, options["wait"]))
            report = dataclasses.asdict(now)
            text = (
                f"takes no new shards: {now.moved} moved, {now.left} left, "
                f"{now.others} other browsers take shards"
            )
        if not report.get("others", 1):
            self.stderr.write(
                "no browser takes shards now: runs wait until one does, or fail at their deadlines"
            )
        self.stdout.write(json.dumps(report) if options["json"] else f"{browser_id} {text}")
        if options["wait"] and report.get("left"):
            raise SystemExit(1)

    def _wait(self, browser_id: str, left: int, seconds: float) -> int:
        until = time.monotonic() + seconds
        while left and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)
            left = draining.left(browser_id)
        return left
