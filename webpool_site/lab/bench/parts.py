"""The parts of `make bench`, in the order in which they run: one module each, with a function `measure`.

A part that uses the pool gets the one that the command starts for all of them; one that does not (it needs
a pool with other settings, or none) gets None and runs after that pool was stopped.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping

from browsers.state.live import LiveBrowser
from webpool_site.lab.bench.stats import Row, Table

Line = Row | Table | str


@dataclasses.dataclass(frozen=True)
class Pool:
    """The running pool that a part measures.

    Attributes:
        browsers: fastest first, by their probes at the start.
        port: of its web server on this machine.
        n: requests per case; a part may take fewer.
        pids: of its processes, by name.
    """

    browsers: tuple[LiveBrowser, ...]
    port: int
    n: int
    pids: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [browser.id for browser in self.browsers]


@dataclasses.dataclass(frozen=True)
class Part:
    """One part: `webpool_site.lab.bench.<module>`, imported when it runs."""

    name: str
    about: str
    module: str
    uses_pool: bool = True

    def measure(self) -> Callable[[Pool | None], Iterator[Line]]:
        found: Callable[[Pool | None], Iterator[Line]] = importlib.import_module(
            f"webpool_site.lab.bench.{self.module}"
        ).measure
        return found


PARTS = (
    Part("overheads", "what the pool adds to a request, beside baselines", "overheads"),
    Part("rest", "what the pool takes of the processor while nobody asks", "processor"),
    Part("strategies", "every strategy and auto over six families", "strategies"),
    Part("throughput", "what more browsers and more streams bring", "throughput"),
    Part("fairness", "what one caller costs another: runs, large JSON, floods", "fairness"),
    Part("comparisons", "what a comparison costs, and a planted difference", "comparisons"),
    Part("generation", "text over stages: speed, and what the pool adds to a token", "generation"),
    Part("table", "memory, throughput, latency and recovery of three families", "table"),
    Part("memory", "what a model takes in a browser, by precision of its weights", "memory", False),
    Part(
        "history",
        "a million samples, ten thousand models: recording, deciding, asking",
        "history",
        False,
    ),
)


class UnknownPart(ValueError):
    """The message names the parts that there are."""


def chosen(names: str) -> tuple[Part, ...]:
    """The parts of a list by comma, in the order of `PARTS`; all of them when it is empty.

    Raises:
        UnknownPart: a name that there is not.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [part.name for part in PARTS]
    if unknown := [name for name in wanted if name not in known]:
        raise UnknownPart(f"no part {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(part for part in PARTS if not wanted or part.name in wanted)
