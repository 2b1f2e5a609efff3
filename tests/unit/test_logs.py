"""Logs stay within their size while what writes them goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from browsers.supervisor.logs import LOGS_KEPT, rotate

WRITER = """
import sys
for line in sys.stdin:
    print(line, end="", flush=True)
    print(".", file=sys.stderr, flush=True)
"""


def test_a_log_is_emptied_under_a_child_that_writes_on(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER],
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert child.stdin is not None
    assert child.stderr is not None
    for number in range(LOGS_KEPT + 2):
        child.stdin.write(f"{number}" * 100 + "\n")
        child.stdin.flush()
        assert child.stderr.readline() == ".\n"
        assert log.read_text() == f"{number}" * 100 + "\n"
        rotate(log, only_above_bytes=1000)
        assert log.stat().st_size == 101, "a small log is left as it is"
        rotate(log, only_above_bytes=100)
        assert log.stat().st_size == 0
    child.stdin.close()
    assert child.wait() == 0
    child.stderr.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["web.log", *(f"web.log.{n}" for n in range(1, LOGS_KEPT + 1))]
    assert (tmp_path / "web.log.1").read_text()[0] == str(LOGS_KEPT + 1)
