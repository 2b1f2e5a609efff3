"""manage.py completion: what a shell needs to complete webpool's commands, their options and files."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

import shtab
from django.core.management import BaseCommand, CommandParser, get_commands, load_command_class

_OURS: Final = ("webpool_site", "inference", "browsers", "history")
_DJANGOS: Final = ("createsuperuser", "changepassword", "migrate")
_NAME: Final = "webpool"


class Command(BaseCommand):
    help = (
        "Print a script that completes commands, options and files; bash: source <(webpool completion bash), "
        'zsh: eval "$(webpool completion zsh)".'
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))

    def handle(self, *_: object, **options: Any) -> None:
        self.stdout.write(shtab.complete(_everything(), shell=options["shell"]))


def _everything() -> argparse.ArgumentParser:
    """All commands as one parser, by the names that people type."""
    whole = argparse.ArgumentParser(prog=_NAME)
    each = whole.add_subparsers(parser_class=CommandParser)
    for name, app in sorted(get_commands().items()):
        if app in _OURS or name in _DJANGOS:
            command = app if isinstance(app, BaseCommand) else load_command_class(app, name)
            parser = each.add_parser(name.replace("_", "-"), help=_first_sentence(command.help))
            command.add_arguments(parser)
            _say_what_completes(parser)
    return whole


def _say_what_completes(parser: argparse.ArgumentParser) -> None:
    """Of each argument: choices that are words, those that its metavar lists, or files."""
    for action in parser._actions:
        if action.choices is not None:
            # "none of them" may be a choice, and is nothing to complete.
            action.choices = [word for word in action.choices if isinstance(word, str)]
        elif isinstance(action.metavar, str) and action.metavar.startswith("{"):
            action.choices = action.metavar.strip("{}").split(",")
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def _first_sentence(text: str) -> str:
    return text.split(". ", maxsplit=1)[0].split(";", maxsplit=1)[0].strip()
