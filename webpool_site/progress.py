"""What a person sees while the pool starts and runs: a line for each thing that happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from browsers.supervisor import Listener, ProcessSpec, describe_exit


class Progress(Listener):
    """Prints a table of what became ready, and later what ended and was started again."""

    def __init__(self, out: Callable[[str], object]) -> None:
        self._out = out
        self._began = time.monotonic()
        self._seen: set[str] = set()

    def on_ready(self, spec: ProcessSpec, seconds: float) -> None:
        if spec.name in self._seen:
            self._out(f"  {label(spec.name):<24} ready again ({seconds:.1f} s)")
            return
        self._seen.add(spec.name)
        since = time.monotonic() - self._began
        self._out(f"  {label(spec.name):<24} ready ({seconds:.1f} s; {since:.1f} s in all)")

    def on_exit(self, spec: ProcessSpec, returncode: int, *, expected: bool) -> None:
        if not expected:
            self._out(
                f"  {label(spec.name):<24} ended ({describe_exit(returncode)}): started again"
            )

    def on_put_down(self, spec: ProcessSpec, why: str) -> None:
        self._out(f"  {label(spec.name):<24} killed: {why}")

    def on_gave_up(self, spec: ProcessSpec, message: str) -> None:
        self._out(f"  {label(spec.name):<24} failed: {message.splitlines()[0]}")


def label(name: str) -> str:
    """`browser.firefox-2` → `browser firefox-2`."""
    return name.replace("browser.", "browser ", 1)
