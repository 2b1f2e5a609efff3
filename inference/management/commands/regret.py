"""manage.py regret: what the pool's choices cost against the best single arm, from runs with propensities."""

from __future__ import annotations

import json
from typing import TypedDict

from django.core.management.base import CommandParser

from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.management.cli import TypedCommand
from inference.scheduling.advice_report import regrets

_MOST_DAYS = 36_500


class _Options(TypedDict):
    model: str | None
    days: float
    json: bool


class Command(TypedCommand[_Options]):
    help = "Regret of the pool's choices against the best single arm, per model, as measured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", help="only this model")
        parser.add_argument("--days", type=float, default=7.0, help="runs of so many days")
        parser.add_argument("--json", action="store_true", help="machine-readable")

    def carry_out(self, options: _Options) -> None:
        if not 0 < options["days"] < _MOST_DAYS:
            raise InvalidRequest(
                f"--days: expected a number above 0 and below {_MOST_DAYS}, got {options['days']}"
            )
        found = regrets(model=options["model"], days=options["days"])
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        if not found:
            self.stdout.write("no run was chosen by history yet: nothing is known")
        for one in found:
            self.stdout.write(_line(one))


def _line(one: JsonObject) -> str:
    runs = ", ".join(
        f"{arm['arm']} {arm['runs']} runs"
        + (f", {arm['expected_ms']:.1f} ms" if arm["expected_ms"] is not None else "")
        for arm in one["arms"]
    )
    if one["regret_ms"] is None:
        return f"{one['model']}: too few runs on other arms to tell ({runs})"
    return (
        f"{one['model']}: {one['mean_ms']:.1f} ms a run, {one['regret_ms']:+.2f} ms against always "
        f"{one['best']} (95 %: {one['low_ms']:+.2f} to {one['high_ms']:+.2f}); {runs}"
    )
