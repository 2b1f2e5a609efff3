"""Which files should be loaded in one more browser, so that a run goes on there at once: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from browsers.core.residency import DEFAULT_BASELINE_MB, planned_mb


@dataclass(frozen=True)
class Held:
    """A file in a browser's page; `used`: it has computed there, warm."""

    bytes: int
    backend: str
    used: bool


@dataclass(frozen=True)
class Holder:
    """A browser as standbys see it.

    Attributes:
        trusted: ready, its breaker closed.
        roomy: neither it nor its machine is short of memory.
        loads_ahead: what is loaded now serves any later run: not so on WebNN, which compiles for its sizes.
        idle: nothing is computed there, and nothing waits.
    """

    id: str
    trusted: bool
    roomy: bool
    loads_ahead: bool
    idle: bool
    limit_mb: float | None
    files: Mapping[str, Held]

    def has_room(self, file_bytes: int) -> bool:
        """Whether the file fits on WebAssembly beside what is there: nothing is unloaded for a standby."""
        held = sum(planned_mb(one.bytes, backend=one.backend) for one in self.files.values())
        needed = DEFAULT_BASELINE_MB + held + planned_mb(file_bytes, backend="wasm")
        return self.limit_mb is None or needed <= self.limit_mb


def missing(pool: Mapping[str, Holder], standbys: int) -> dict[str, list[str]]:
    """File → browsers that could take it, for files in use that fewer browsers hold than one and `standbys`.

    A browser that computes, is in doubt or has no room for it takes none.
    """
    holders: dict[str, list[Holder]] = defaultdict(list)
    used: dict[str, int] = {}
    for browser in pool.values():
        for file, held in browser.files.items():
            if browser.trusted:
                holders[file].append(browser)
            if held.used:
                used[file] = held.bytes
    found = {}
    for file, size in sorted(used.items()):
        if len(holders[file]) > standbys:
            continue
        able = [
            browser.id
            for browser in pool.values()
            if browser.trusted
            and browser.roomy
            and browser.loads_ahead
            and browser.idle
            and file not in browser.files
            and browser.has_room(size)
        ]
        if able:
            found[file] = sorted(able)
    return found
