"""The snippets of a page of the docs: found, and run as a reader would, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.shared import ROOT
from tests.support.stack import RunningStack

_FENCE = re.compile(
    r"(?P<skip><!-- not run here: [^\n]+ -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_MANAGE = f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "manage.py"}" "$@"\n'
_WITHIN_S = 600


@dataclass(frozen=True)
class Snippet:
    """A fenced block: where it starts, what it is written in, and whether it can be run here."""

    line: int
    kind: str
    text: str
    runs: bool


def parts(page: Path) -> dict[str, list[Snippet]]:
    """The snippets below each heading of the second level."""
    text = page.read_text()
    ends = [match.start() for match in _HEADING.finditer(text)] + [len(text)]
    return {
        match.group(1): [
            Snippet(
                text[: match.end() + found.start()].count("\n") + 1,
                found["kind"],
                found["text"],
                not found["skip"],
            )
            for found in _FENCE.finditer(text[match.end() : end])
        ]
        for match, end in zip(_HEADING.finditer(text), ends[1:], strict=True)
    }


def run(snippet: Snippet, pool: RunningStack, folder: Path) -> str:
    """Run it in the folder, against the pool; returns what it prints.

    Raises:
        AssertionError: it failed.
    """
    tools = folder.parent / "bin"
    tools.mkdir(exist_ok=True)
    manage = tools / "manage.py"
    manage.write_text(_MANAGE)
    manage.chmod(0o755)
    text = snippet.text.replace("127.0.0.1:8000", f"127.0.0.1:{pool.port}")
    shell = ["bash", "-eu", "-c", text]
    done = subprocess.run(
        shell if snippet.kind == "sh" else [sys.executable, "-c", text],
        cwd=folder, env={**pool.env, "PATH": f"{tools}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"line {snippet.line}:\n{snippet.text}\n{done.stdout[-3000:]}"
    return done.stdout
