"""webpool's command line: `webpool add-model x.onnx`, and `manage.py add_model x.onnx` in a checkout."""

from __future__ import annotations

import ast
import difflib
import os
import re
import select
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from browsers import locations

_OURS: Final[Mapping[str, str]] = {
    "webpool_site": "The pool",
    "inference": "Models, runs and browsers",
    "history": "What was measured",
}
"""Heading of an app's commands, in the order in which they are listed."""

_NOT_ASKED: Final = 2
"""The exit status of what cannot be asked for."""

_PIPE_CLOSED: Final = 128 + signal.SIGPIPE
"""The exit status of a process that ends by it, as a shell tells it."""


def main() -> None:
    """Run the command that the process's arguments name."""
    # Set-up runs other programs' installers, whose files everybody may need.
    if sys.argv[1:2] != ["setup"]:
        os.umask(0o077)
    if sys.argv[1:] in ([], ["help"], ["--help"], ["-h"]):
        print(overview())
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
    name = sys.argv[1:2]
    if name and not name[0].startswith("-"):
        name = [name[0].replace("-", "_")]
    try:
        _execute([sys.argv[0], *name, *sys.argv[2:]])
        sys.stdout.flush()
    except BrokenPipeError:
        if not _has_no_reader(sys.stdout.fileno()):
            raise
        # Nor is what is left written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_PIPE_CLOSED)


def _execute(words: list[str]) -> None:
    """As Django's `execute_from_command_line`; a command that is none ends as what cannot be asked for."""
    from django.conf import settings
    from django.core.management import BaseCommand, ManagementUtility, get_commands

    class Utility(ManagementUtility):
        def fetch_command(self, subcommand: str) -> BaseCommand:
            if settings.configured and subcommand not in (known := get_commands()):
                print(_unknown(subcommand, known), file=sys.stderr)
                sys.exit(_NOT_ASKED)
            return super().fetch_command(subcommand)

    Utility(words).execute()


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"unknown command {name[:80]!r}: {meant}`{locations.PROGRAM} help` lists them"


def _has_no_reader(pipe: int) -> bool:
    """Whoever read it had enough, as `head` has."""
    asked = select.poll()
    asked.register(pipe, 0)
    return any(event & select.POLLERR for _, event in asked.poll(0))


def overview() -> str:
    """webpool's commands with what each does, read from their files: to import them takes a second."""
    lines = [f"usage: {locations.PROGRAM} COMMAND [options]; COMMAND --help tells more of one"]
    for app, heading in _OURS.items():
        lines += ["", heading, *(f"  {name:<17} {does}" for name, does in _commands(app))]
    lines += ["", f"Django's own are among those that `{locations.PROGRAM} help --commands` lists."]
    return "\n".join(lines)


def _commands(app: str) -> Iterator[tuple[str, str]]:
    for path in sorted((locations.ROOT / app / "management" / "commands").glob("[a-z]*.py")):
        yield path.stem, _first_clause(path)


def _first_clause(path: Path) -> str:
    """Of a command's `help`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Assign(targets=[ast.Name(id="help")], value=ast.Constant(value=str() as told)):
                return re.split(r"[.;] |\.$", told)[0]
    return ""


if __name__ == "__main__":
    main()
