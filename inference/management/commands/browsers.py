"""manage.py browsers: list the pool's browsers, show one, take it out of service, or let it in again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TypedDict

from browsers import locations
from browsers.models import Browser
from inference.errors import InvalidRequest
from inference.ledger import operations
from inference.management.cli import TypedCommand
from inference.management.listing import write_table
from inference.scheduling.pool_view import get_browser
from inference.store.audit import machine_user
from inference.wire.serializers.browsers import (
    BrowserDetailSerializer,
    BrowserSerializer,
    what_is_known_now,
)
from webpool_site.telling.documents import write_json

_COLUMNS = ("id", "family", "version", "state", "now", "breaker", "drained", "repairs")


class _Options(TypedDict):
    id: str | None
    quarantine: bool
    release: bool
    reset_breakers: bool
    json: bool


class Command(TypedCommand[_Options]):
    help = "List the pool's browsers; with an id, show that one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", nargs="?", help="show this browser, as JSON")
        acts = parser.add_mutually_exclusive_group()
        acts.add_argument(
            "--quarantine", action="store_true",
            help="what it has goes to others at once, and it gets nothing until --release",
        )  # fmt: skip
        acts.add_argument("--release", action="store_true", help="it takes work again")
        acts.add_argument(
            "--reset-breakers", action="store_true", help="its failures are forgotten"
        )
        parser.add_argument("--json", action="store_true", help="as GET /api/browsers/")

    def carry_out(self, options: _Options) -> None:
        browser_id = options["id"]
        acts = {
            "quarantine": self._quarantine,
            "release": self._release,
            "reset_breakers": self._reset_breakers,
        }
        given = {
            "quarantine": options["quarantine"],
            "release": options["release"],
            "reset_breakers": options["reset_breakers"],
        }
        asked = next((name for name in acts if given[name]), None)
        if not browser_id:
            if asked:
                raise InvalidRequest("expected the id of a browser before the option")
            return self._list(as_json=options["json"])
        if asked:
            with self.acting(asked.replace("_", " "), f"browser {browser_id}") as said:
                said.detail = acts[asked](browser_id)
            return self.stdout.write(said.detail)
        row = get_browser(browser_id)
        told = BrowserDetailSerializer(row, context=what_is_known_now()).data
        return write_json(self.stdout, told)

    def _quarantine(self, browser_id: str) -> str:
        taken = operations.quarantine(browser_id, by=machine_user())
        return f"{browser_id} is quarantined; {taken} shards were taken from it"

    def _release(self, browser_id: str) -> str:
        freed = operations.release(browser_id)
        return f"{browser_id} {'takes work again' if freed else 'was not held back'}"

    def _reset_breakers(self, browser_id: str) -> str:
        operations.reset_breakers(browser_id)
        return f"the breakers of {browser_id} are closed"

    def _list(self, *, as_json: bool) -> None:
        found = Browser.objects.order_by("pk")
        rows = BrowserSerializer(found, many=True, context=what_is_known_now()).data
        if as_json:
            return write_json(self.stdout, rows)
        for row in rows:
            live = row["live"]
            row["now"] = (
                "unknown" if row["live_unknown"] else live["state"] if live else "not there"
            )
            row["breaker"] = (row["breaker"] or {}).get("state")
            row["drained"] = row["drain_reason"]
        none = f"the pool has had no browser yet; `{locations.UP}` starts it"
        return write_table(self.stdout, rows, _COLUMNS, none)
