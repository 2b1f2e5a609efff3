"""The snippets of a page of the docs: found, and run as a reader would, in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.pools import GRPC_PORT
from tests.support.shared import ROOT
from tests.support.stack import RunningStack

_FENCE = re.compile(
    r"(?:<!-- not run here: (?P<why>[^\n]+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_MANAGE = f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "manage.py"}" "$@"\n'
_CURL = f'#!/bin/sh\nexec "{shutil.which("curl")}" --fail-with-body "$@"\n'
_WAYS = {
    "sh": ("bash", "-eu", "-c"),
    "python": (sys.executable, "-c"),
    "js": ("node", "--input-type=module", "--eval"),
}
_WITHIN_S = 600


@dataclass(frozen=True)
class Snippet:
    """A fenced block: where it starts, what it is written in, and why it cannot be run here, "" if it can."""

    page: str
    part: str
    line: int
    kind: str
    text: str
    why: str

    @property
    def runs(self) -> bool:
        return not self.why


PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def parts(page: Path) -> dict[str, list[Snippet]]:
    """The snippets below each heading of the second level, in which all of a page stand."""
    text = page.read_text()
    ends = [match.start() for match in _HEADING.finditer(text)] + [len(text)]
    return {
        match.group(1): [
            Snippet(
                page.relative_to(ROOT).as_posix(),
                match.group(1),
                text[: match.end() + found.start()].count("\n") + 1,
                found["kind"],
                found["text"],
                found["why"] or "",
            )
            for found in _FENCE.finditer(text[match.end() : end])
        ]
        for match, end in zip(_HEADING.finditer(text), ends[1:], strict=True)
    }


def run(snippet: Snippet, pool: RunningStack, key: str, folder: Path) -> str:
    """Run it in the folder, against the pool, whose caller has the key; returns what it prints.

    Raises:
        AssertionError: it failed.
    """
    tools = folder.parent / "bin"
    if not tools.exists():
        _lay_out(tools)
    text = _here(snippet.text, pool, key)
    done = subprocess.run(
        [*_WAYS[snippet.kind], text],
        cwd=folder,
        env={**pool.env, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": f"{tools}:{ROOT}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_WITHIN_S, check=False,
    )  # fmt: skip
    told = f"{snippet.page}, line {snippet.line}:\n{text}\n{done.stdout[-3000:]}"
    assert done.returncode == 0, told
    return done.stdout


def _lay_out(tools: Path) -> None:
    """`manage.py`, a `curl` that fails where it is refused, and the light client as its wheel has it."""
    tools.mkdir()
    for name, text in (("manage.py", _MANAGE), ("curl", _CURL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tools / "webpool").mkdir()
    (tools / "webpool" / "client").symlink_to(ROOT / "inference" / "remote")


def _here(text: str, pool: RunningStack, key: str) -> str:
    """With the pool's own addresses, and a key."""
    for told, own in (
        ("127.0.0.1:8000", f"127.0.0.1:{pool.port}"),
        ("127.0.0.1:8001", f"127.0.0.1:{GRPC_PORT}"),
        ("https://pool.example", f"http://127.0.0.1:{pool.port}"),
        ("wp_...", key),
        ("wp_…", key),
    ):
        text = text.replace(told, own)
    return text
