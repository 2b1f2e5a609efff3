"""What a snippet of shell would start, said by a shell that starts nothing."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Nothing is found on its path, so that each command ends here: its words, then the names in its environment.
_TELL = r"""command_not_found_handle() { printf '%s\0' "$@" >&3; printf '\036%s\035' "$(compgen -e)" >&3; }
"""


@dataclass(frozen=True)
class Command:
    """One command: its words, quotes and variables resolved, and the names in its environment."""

    words: tuple[str, ...]
    environment: frozenset[str]


def commands(text: str, folder: Path) -> list[Command]:
    """The commands of a snippet in their order; what they would print is taken to be empty.

    Raises:
        AssertionError: the shell cannot read it.
    """
    told = folder / "told"
    done = subprocess.run(
        ["/bin/bash", "-c", f"exec 3>'{told}'\n{_TELL}{text}"],
        cwd=folder, env={"PATH": "/nowhere"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not re.search("syntax error|unexpected EOF", done.stderr), f"{text}\n{done.stderr}"
    found = [each.split("\0\036") for each in told.read_text().split("\035")[:-1]]
    return [Command(tuple(words.split("\0")), frozenset(names.split())) for words, names in found]
