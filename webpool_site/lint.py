"""`make lint`: every static check, one line each; the words of those that fail, and exit code 1.

The files of the repository alone are looked at: `python -m webpool_site.lint`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from webpool_site.setup.node import find_node

REPOSITORY = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# As many at once as there are cores on a small machine.
AT_ONCE = 2


def checks() -> dict[str, tuple[Sequence[str], Mapping[str, str] | None]]:
    """What is run, slowest first, each with its environment (None: the one there is)."""
    node = find_node()
    if node is None:
        raise SystemExit("lint needs node: run `manage.py setup --only node,npm --development`")
    packages = REPOSITORY / "node_modules" / ".bin"
    environment = node.environment()
    return {
        "mypy": ([str(BIN / "mypy")], None),
        "eslint": ([str(packages / "eslint"), "."], environment),
        "tsc": ([str(packages / "tsc"), "--project", "tsconfig.json"], environment),
        "import-linter": ([str(BIN / "lint-imports"), "--no-cache"], None),
        "ruff check": (
            [str(BIN / "ruff"), "check", "--quiet", "--output-format=concise", "."],
            None,
        ),
        "ruff format": (
            [str(BIN / "ruff"), "format", "--check", "--quiet", "--output-format=concise", "."],
            None,
        ),
    }


def run(command: Sequence[str], environment: Mapping[str, str] | None) -> tuple[bool, str, float]:
    """Whether it passed, what it said, and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout, time.monotonic() - began


def main() -> int:
    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {name: pool.submit(run, *check) for name, check in checks().items()}
        for name, future in running.items():
            passed, said, seconds = future.result()
            print(f"{name:<14} {'passed' if passed else 'FAILED'} ({seconds:.1f} s)", flush=True)
            if not passed:
                failed = True
                print(said.rstrip(), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
