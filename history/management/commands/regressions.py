"""manage.py regressions: browser builds that made the same work slower."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from history import answers
from history.management.cli import HistoryCommand
from webpool_site.telling.documents import write_json


class Command(HistoryCommand):
    help = "Builds of browsers that do the same work slower than the build before."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--state", choices=("open", "closed"))
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        found = answers.regressions(options["state"])
        if options["json"]:
            write_json(self.stdout, found)
            return
        if not found:
            self.stdout.write("no regressions")
        for one in found:
            self.stdout.write(
                f"{one['state']:<6} {one['severity']:<6} {one['browser']} {one['from_build']} → "
                f"{one['to_build']}: {one['model_name']}/{one['platform']} takes "
                f"{one['change_ratio']:.2f} times as long (p = {one['p_value']:.2g}, "
                f"{one['sample_size']} samples), opened {one['opened_at']}"
            )
