"""manage.py anomalies: the latest latency of each series against those before it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from history import answers
from history.management.cli import HistoryCommand, add_filters, filters
from webpool_site.telling.documents import write_json


class Command(HistoryCommand):
    help = "Latest latencies that are unlike those before."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_filters(parser, platform=True)
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        answer = answers.found_anomalies(
            **filters(options, "browser", "model_type", "model_name", "platform", "days")
        )
        if options["json"]:
            write_json(self.stdout, answer)
            return
        odd = [one for one in answer["series"] if one["latest"]["anomaly"]]
        unknown = sum(one["latest"]["anomaly"] is None for one in answer["series"])
        self.stdout.write(
            f"{len(odd)} of {len(answer['series'])} series end with an anomaly; {unknown} have too few "
            f"samples to tell; as of {answer['as_of'] or 'never'}"
        )
        for one in odd:
            latest = one["latest"]
            self.stdout.write(
                f"{one['browser']}/{one['platform']} {one['shape'] or ''}: {latest['value']:.2f} ms where "
                f"{latest['baseline']:.2f} ms is usual ({latest['samples']} samples): {latest['reason']}"
            )
