"""What a person sees while the suite runs: how far it is, the time left, the first failure at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

EVERY_S = 60.0
EVERY_ON_A_TERMINAL_S = 10.0


def line(*, elapsed_s: float, done: int, of: int, failed: int, left_s: float, slow: float) -> str:
    """`4:05  312 of 2010 tests, none failed; about 9 min left`; `slow` is this run against the table."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    failures = f"{failed} FAILED" if failed else "none failed"
    left = left_s * slow / 60
    about = f"about {left:.0f} min left" if left >= 1.5 else "about a minute left"
    return f"{minutes}:{seconds:02d}  {done} of {of} tests, {failures}; {about}"


class Progress:
    """A line now and then instead of a dot a test, and the first failure as soon as it is known."""

    def __init__(
        self,
        terminal: pytest.TerminalReporter,
        left_s: Callable[[], float],
        expected_s: Callable[[str], float],
        interactive: bool,
    ) -> None:
        self._terminal = terminal
        self._left_s = left_s
        self._expected_s = expected_s
        self._every_s = EVERY_ON_A_TERMINAL_S if interactive else EVERY_S
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
        self._of = 0
        self._done: set[str] = set()
        self._failed = 0
        self.took: Counter[str] = Counter()
        """Seconds by test, setup and teardown included."""

    def begin(self, tests: int) -> None:
        if not self._of:
            self._of = tests
            self._ticker.start()

    def end(self) -> None:
        self._over.set()

    def _tick(self) -> None:
        while not self._over.wait(self._every_s):
            self._say(self._now())

    def _now(self) -> str:
        done = list(self._done)
        expected = sum(self._expected_s(test) for test in done)
        took = sum(self.took[test] for test in done)
        return line(
            elapsed_s=time.monotonic() - self._began, done=len(done), of=self._of,
            failed=self._failed, left_s=self._left_s(), slow=took / expected if expected > 60 else 1.0,
        )  # fmt: skip

    def _say(self, text: str) -> None:
        with self._lock:
            self._terminal.ensure_newline()
            self._terminal.write_line(text)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No dot for what passed, no letter for what was skipped: pytest writes its percentage after one."""
        if report.skipped:
            return "skipped", "", ""
        if report.passed:
            return ("passed", "", "") if report.when == "call" else None
        if report.failed:
            around = report.when in ("setup", "teardown")
            return ("error", "", "ERROR") if around else ("failed", "", "FAILED")
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took[report.nodeid] += report.duration  # type: ignore[assignment]
        if report.when == "teardown":
            self._done.add(report.nodeid)
        if report.failed:
            self._failed += 1
            self._say(f"failure {self._failed}: {report.nodeid} ({report.when})")
            if self._failed == 1:
                self._say(report.longreprtext)
