"""manage.py api_keys: list the keys of callers away from loopback, or revoke one."""

from __future__ import annotations

from argparse import ArgumentParser

from inference.errors import InvalidRequest
from inference.management.cli import WebpoolCommand
from inference.management.listing import write_table
from inference.models import ApiKey
from webpool_site.telling.documents import write_json

_COLUMNS = ("name", "prefix", "user", "requests_per_minute", "active", "created_at")


class Command(WebpoolCommand):
    help = "List API keys; `create_api_key` makes one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--revoke", metavar="NAME", help="this key is let in no more")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: object, **options: object) -> None:
        if name := options["revoke"]:
            with self.acting("revoke", f"API key {name}"):
                if not ApiKey.objects.filter(name=name).update(active=False):
                    raise InvalidRequest(f"no API key is named {name!r}")
            self.stdout.write(f"the key {name} is let in no more")
            return
        rows = [
            {column: getattr(row, column) for column in _COLUMNS} for row in ApiKey.objects.all()
        ]
        if options["json"]:
            write_json(self.stdout, rows)
        else:
            write_table(self.stdout, rows, _COLUMNS, "there are no API keys")
