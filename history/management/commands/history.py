"""manage.py history: the latest samples, the scores, and how old the answers are."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from history import answers
from history.acting import acting
from history.management.cli import HistoryCommand, add_filters, filters
from history.recompute import recompute
from webpool_site.telling.documents import write_json
from webpool_site.telling.units import number


class Command(HistoryCommand):
    help = "The latest samples and the published scores."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_filters(parser)
        parser.add_argument("--limit", type=int, default=20)
        parser.add_argument(
            "--recompute", action="store_true", help="scores and recommendations anew, first"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["recompute"]:
            with acting("recompute", "history") as said:
                done = recompute()
                said.detail = (
                    f"from {done.samples} samples in {done.seconds:.2f} s: {done.scores} scores, "
                    f"{done.recommendations} recommendations, {done.opened} regressions opened, "
                    f"{done.closed} closed"
                )
            self.stderr.write(f"recomputed {said.detail}")
        answer = answers.performance(
            **filters(options, "browser", "model_type", "model_name", "days"), most=options["limit"]
        )
        scores = answers.scores(**filters(options, "browser", "model_type"))
        if options["json"]:
            write_json(self.stdout, {**answer, "scores": scores})
            return
        self.stdout.write(
            f"as of {answer['as_of']}" if answer["as_of"] else "nothing was recorded yet"
        )
        for row in answer["samples"]:
            outcome = "ok" if row["success"] else row["error_type"] or "failed"
            self.stdout.write(
                f"{row['timestamp']:%Y-%m-%d %H:%M:%S}  {row['kind']:<9} {row['browser']:<13} "
                f"{row['platform'] or '-':<7} {row['model_name']:<24} "
                f"{number(row['latency_ms'] or row['load_ms']):>9} ms  {outcome}"
            )
        for one in scores:
            self.stdout.write(
                f"score {one['model_type']:<15} {one['browser']:<13} {one['score']:5.1f} "
                f"({one['low']:.1f} to {one['high']:.1f}), {one['sample_size']} samples, {one['timestamp']}"
            )
