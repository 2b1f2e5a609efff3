"""manage.py telemetry: the pool as it is now, for people or as JSON."""

from __future__ import annotations

import json
from argparse import ArgumentParser

from django.core.serializers.json import DjangoJSONEncoder

from inference.management.cli import WebpoolCommand
from inference.telemetry import telemetry
from inference.telemetry.report import report


class Command(WebpoolCommand):
    help = "Show system, browsers, breakers, models, repairs, runs and latency as they are now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="as /api/telemetry/ gives it")
        parser.add_argument("--no-connections", action="store_true", help="leave browsers out")
        parser.add_argument("--no-models", action="store_true", help="leave loaded models out")

    def handle(self, *_: object, **options: object) -> None:
        document = telemetry(
            include_connections=not options["no_connections"],
            include_models=not options["no_models"],
        )
        if options["json"]:
            self.stdout.write(json.dumps(document, indent=2, cls=DjangoJSONEncoder))
            return
        for line in report(document):
            self.stdout.write(line)
