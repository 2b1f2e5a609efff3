"""What history's commands share: a refusal is one line on stderr and exit code 2."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from history.core.samples import MODEL_TYPES, PLATFORMS
from history.errors import HistoryError
from webpool_site.telling.arguments import no_text


class HistoryCommand(BaseCommand):
    """A command that reads what history knows; `--json` prints its answer whole."""

    requires_system_checks: list[str] = []

    def execute(self, *args: Any, **options: Any) -> str | None:
        if wrong := no_text(options):
            raise CommandError(wrong, returncode=2)
        try:
            return super().execute(*args, **options)
        except HistoryError as error:
            raise CommandError(str(error), returncode=2) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise CommandError(f"{error.filename}: {error.strerror}", returncode=2) from error
        except OperationalError as error:
            raise CommandError(
                f"the database cannot be used ({error}); see `{settings.WEBPOOL_PROGRAM} doctor`",
                returncode=2,
            ) from error


def add_filters(parser: ArgumentParser, *, platform: bool = False) -> None:
    """--browser, --type, --model, --days and, where asked, --platform."""
    parser.add_argument("--browser", help="kind of browser, such as firefox")
    parser.add_argument("--type", dest="model_type", choices=MODEL_TYPES)
    parser.add_argument("--model", dest="model_name")
    parser.add_argument("--days", type=float)
    if platform:
        parser.add_argument("--platform", choices=PLATFORMS)


def filters(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: options[name] for name in names if options[name] is not None}
