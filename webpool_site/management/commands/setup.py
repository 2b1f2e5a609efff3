"""manage.py setup: install what is missing; what is there already is left alone."""

from __future__ import annotations

import contextlib
import io
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from inference.management.cli import WebpoolCommand
from webpool_site.setup import admin_user, browsers, database, debian, models, node
from webpool_site.setup.step import SetupError, alone, private_files, timed

_OF_THE_POOL = ("database", "admin", "sample")
"""Others run installers, whose files everybody may need."""


class Command(WebpoolCommand):
    help = "Install node's packages and browsers, prepare database, admin user and sample model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--development",
            action="store_true",
            help="also what tests and lint need",
        )
        parser.add_argument("--only", default="", help="comma-separated names of steps")

    def handle(self, *_: Any, development: bool, only: str, **options: Any) -> None:
        steps: dict[str, Callable[[], str]] = {
            "node": node.install_node,
            "npm": lambda: node.install_packages(development=development),
            "debian": lambda: debian.install(development=development),
            "browsers": lambda: browsers.report(settings.WEBPOOL_HOME),
            "database": database.migrate,
            "admin": _admin,
            "models": models.install,
            "sample": _sample,
        }
        chosen = [name.strip() for name in only.split(",")] if only else list(steps)
        if unknown := [name for name in chosen if name not in steps]:
            raise CommandError(
                f"unknown step {unknown[0]!r}: expected some of {', '.join(steps)}", returncode=2
            )
        with alone(settings.WEBPOOL_HOME, self._say):
            for name in chosen:
                try:
                    with private_files() if name in _OF_THE_POOL else contextlib.nullcontext():
                        timed(name, steps[name], self._say)
                except SetupError as error:
                    raise CommandError(f"{name}: {error}", returncode=2) from error

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _admin() -> str:
    credentials = admin_user.ensure()
    return f"log in as {credentials} (shown only this once)" if credentials else "user is there"


def _sample() -> str:
    said = io.StringIO()
    call_command("add_sample", "minilm", "smollm2", stdout=said)
    return said.getvalue().strip()
