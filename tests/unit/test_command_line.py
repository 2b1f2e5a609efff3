"""What people see who type the program's name alone."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from django.core.management import get_commands

from tests.support.stack import ROOT
from webpool_site.command_line import overview

OURS = ("webpool_site", "inference", "history")


def test_every_command_of_webpools_is_listed_with_what_it_does_and_none_of_djangos() -> None:
    listed = dict(
        line.strip().split(None, 1) for line in overview().splitlines() if line.startswith("  ")
    )
    known = get_commands()
    assert set(listed) == {name for name, app in known.items() if app in OURS}
    assert all(10 < len(does) < 120 for does in listed.values()), listed


def test_help_is_told_before_anything_is_loaded() -> None:
    asked = (
        "import sys; sys.argv = ['webpool', '--help']; from webpool_site.command_line import main; main(); "
        "assert not {'inference', 'numpy', 'rest_framework'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert "\n  infer " in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "unknown command 'nonsense': `manage.py help` lists them"),
        (["help", "nonsense"], "unknown command 'nonsense': `manage.py help` lists them"),
        (["telemetri"], "unknown command 'telemetri': did you mean telemetry? `manage.py help` lists them"),
        (["add-modl"], "unknown command 'add_modl': did you mean add_model? `manage.py help` lists them"),
    ],
)  # fmt: skip
def test_a_command_that_is_none_cannot_be_asked_for(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{said}\n")


def test_a_reader_that_had_enough_is_no_error() -> None:
    command = [sys.executable, "manage.py", "diffsettings", "--all"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as told:
        assert told.stdout is not None
        assert told.stderr is not None
        told.stdout.close()
        assert told.stderr.read() == b""
    assert told.returncode == 128 + signal.SIGPIPE
