"""manage.py create_api_key: make a key for callers away from loopback, and show it once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import TypedDict

from django.contrib.auth import get_user_model

from inference.auth import create_key
from inference.errors import InvalidRequest
from inference.management.cli import TypedCommand

_MOST = 2**31 - 1


class _Options(TypedDict):
    name: str
    user: str
    requests_per_minute: int | None
    json: bool


class Command(TypedCommand[_Options]):
    help = "Make an API key; it is shown once and stored nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what the key is for; unique")
        parser.add_argument("--user", default="", help="whose key it is")
        parser.add_argument("--requests-per-minute", type=int, help="left out: no limit")
        parser.add_argument("--json", action="store_true")

    def carry_out(self, options: _Options) -> None:
        limit = options["requests_per_minute"]
        if limit is not None and not 1 <= limit <= _MOST:
            raise InvalidRequest(
                f"--requests-per-minute: expected at least 1 and at most {_MOST}, got {limit}"
            )
        user = None
        if options["user"]:
            user = get_user_model().objects.filter(username=options["user"]).first()
            if user is None:
                raise InvalidRequest(f"no user is named {options['user']!r}")
        name = options["name"]
        with self.acting("add", f"API key {name}"):
            row, key = create_key(name, user=user, requests_per_minute=limit)
        if options["json"]:
            self.stdout.write(json.dumps({"name": row.name, "key": key}))
        else:
            may = (
                f"what {user} may" if user else "everything, as an operator (--user U: what U may)"
            )
            self.stdout.write(
                f"{key}\nSend it as: Authorization: Bearer <key>. It is not shown again. "
                f"Who has it may do {may}."
            )
