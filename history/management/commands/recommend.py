"""manage.py recommend: the browser for a model, with the evidence."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from history import answers
from history.core.samples import MODEL_TYPES
from history.management.cli import HistoryCommand
from webpool_site.telling.documents import write_json
from webpool_site.telling.units import number

NOTHING_KNOWN = 3


class Command(HistoryCommand):
    help = "The browser for a model, with its evidence. Exit code 3: history knows nothing of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--type", dest="model_type", choices=MODEL_TYPES, required=True)
        parser.add_argument("--model", dest="model_name", default="")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        found = answers.recommendation(options["model_type"], options["model_name"])
        if options["json"]:
            write_json(self.stdout, found)
        else:
            self._print(found)
        if not found["known"]:
            sys.exit(NOTHING_KNOWN)

    def _print(self, found: dict[str, Any]) -> None:
        if not found["known"]:
            self.stdout.write(found["reason"])
            if found["recommended_browser"]:
                self.stdout.write(
                    f"{found['recommended_browser']}, confidence {found['confidence']}"
                )
            self.stdout.write(f"samples recorded: {found['samples_recorded']}")
        else:
            self._print_choice(found)
        for arm in found["config"].get("evidence", ()):
            self._print_arm(arm)

    def _print_choice(self, found: dict[str, Any]) -> None:
        platform = found["recommended_platform"]
        self.stdout.write(
            f"{found['recommended_browser']}{f'/{platform}' if platform else ''}   confidence "
            f"{found['confidence']:.2f} that it is within 5 % of the best, from {found['sample_size']} "
            f"samples of {'this model' if found['based_on'] == 'model' else found['based_on']}, computed "
            f"{found['timestamp']}"
        )
        if found["reason"]:
            self.stdout.write(found["reason"])

    def _print_arm(self, arm: dict[str, Any]) -> None:
        ratio = (
            f"{number(arm['ratio'])} times the best ({number(arm['ratio_low'])} to "
            f"{number(arm['ratio_high'])})"
            if arm["ratio"] is not None
            else arm["why"]
        )
        software = " software" if arm["software"] else ""
        self.stdout.write(
            f"    {arm['browser'] + '/' + arm['platform'] + software:<30} {arm['standing']:<12} "
            f"{arm['samples']:>5} samples, {arm['failures']} failures   {ratio}"
        )
