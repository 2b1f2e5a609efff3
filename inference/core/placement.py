"""Which browser computes a shard: pure decisions over a snapshot of the pool.

Same shards, same snapshot, same wishes: same placement. Ties end with the browser's id.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from browsers.core.naming import means
from browsers.core.residency import planned_mb

# Planning defaults, not measurements: they order browsers until this pool has measured its own.
DEFAULT_LOAD_MS_PER_MB = 20.0  # what loading is assumed to cost, to prefer a browser that is warm
DEFAULT_TASK_MS = 5.0  # what a worker is assumed to take for each shard beside computing it
DEFAULT_COMPUTE_PER_PROBE = 10.0  # a shard is assumed to take this many probe runs


@dataclasses.dataclass(frozen=True)
class BackendView:
    """A backend that passed the known-answer probe, or is asked again before it computes.

    `probe_ms` is its measured time.
    """

    name: str
    software: bool | None
    probe_ms: float | None


@dataclasses.dataclass(frozen=True)
class BrowserView:
    """A live browser.

    `loaded` maps a file's SHA-256 to the mean compute time there (or None), `row_ms` to that of a row.
    One that is `short_of_memory` is about to make room: others are taken meanwhile, where there are any.
    `host` and `cores` are its machine's, `threads` how many of them a computation on wasm takes; browsers
    of one host share its cores.
    `breaker`: closed, open or half_open. `blocked`: files that their own breaker keeps away from here.
    `withheld`: backends that are not offered, such as one that is late with the known answer, and why.
    """

    id: str
    kind: str
    family: str
    state: str
    backends: tuple[BackendView, ...]
    loaded: Mapping[str, float | None]
    resident_bytes: int
    memory_limit_mb: float | None
    outstanding: int
    row_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    short_of_memory: bool = False
    zone: str = ""
    host: str = ""
    cores: int | None = None
    threads: int = 1
    breaker: str = "closed"
    blocked: frozenset[str] = frozenset()
    withheld: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ShardView:
    """A shard to place.

    `side` (0 or 1): in which of two groups of browsers it belongs, None: in any. `home`: the browser that
    has what belongs with it, if there is one.
    """

    index: int
    sha256: str
    weight_bytes: int
    side: int | None = None
    home: str = ""


@dataclasses.dataclass(frozen=True)
class Pin:
    """A wish that always wins: this browser, this backend, or both; empty means any."""

    browser: str = ""
    platform: str = ""


@dataclasses.dataclass(frozen=True)
class Hints:
    """What history knows of the work, by kind of browser; nobody's wish.

    Attributes:
        ratios: cost of an answer relative to the best kind's, at least 1.
        failing: kinds that fail at it; they come last.
        prefer: the kind that is tried now; empty: none.
        starting: kinds to begin with where nothing was measured: documented, no evidence.
    """

    ratios: Mapping[str, float] = dataclasses.field(default_factory=dict)
    failing: frozenset[str] = frozenset()
    prefer: str = ""
    starting: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the caller asked for.

    `browsers` holds ids, kinds or families, in order. `critical` spreads the shards over families, then
    zones, before speed counts: one fault of a browser release or of a place then harms fewest of them.
    """

    browsers: tuple[str, ...] = ()
    platform: str = ""
    pins: Mapping[int, Pin] = dataclasses.field(default_factory=dict)
    critical: bool = False
    hints: Hints = Hints()

    def for_shard(self, index: int) -> Pin:
        pin = self.pins.get(index, Pin())
        return Pin(pin.browser, pin.platform or self.platform)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A browser that could compute the shard, and why it is where it is in the order."""

    browser: str
    platform: str
    warm: bool
    expected_ms: float


class NoBrowser(Exception):
    """No browser of the pool can take a shard; `reasons` says why for each."""

    def __init__(self, shard: int, reasons: Mapping[str, str], *, lasting: bool) -> None:
        self.shard, self.reasons, self.lasting = shard, dict(reasons), lasting
        listed = "; ".join(f"{name}: {why}" for name, why in sorted(reasons.items()))
        super().__init__(f"no browser can take shard {shard}: {listed or 'the pool has none'}")


def refusal(
    shard: ShardView, browser: BrowserView, wishes: Wishes, refused: Mapping[str, str]
) -> tuple[str, bool] | None:
    """Why this browser cannot take the shard and whether that lasts; None when it can."""
    pin = wishes.for_shard(shard.index)
    if pin.browser and not means(pin.browser, browser):
        return f"shard {shard.index} is pinned to {pin.browser}", True
    if not pin.browser and wishes.browsers and not any(means(w, browser) for w in wishes.browsers):
        return f"only {', '.join(wishes.browsers)} may be used", True
    if browser.id in refused:
        return f"it refused the shard ({refused[browser.id]})", True
    names = [backend.name for backend in browser.backends]
    if pin.platform and pin.platform not in names and names:
        why = browser.withheld.get(pin.platform)
        has = f"it has {', '.join(names)}"
        return f"it has no {pin.platform} ({f'{why}; {has}' if why else has})", True
    needed_mb = peak_mb(shard, browser, pin.platform)
    if browser.memory_limit_mb is not None and needed_mb > browser.memory_limit_mb:
        limit_mb = browser.memory_limit_mb
        short = f"{needed_mb - limit_mb:.0f} MB short"
        return f"needs about {needed_mb:.0f} MB, its limit is {limit_mb:.0f} MB ({short})", True
    if browser.state != "ready":
        return f"it is {browser.state}", False
    return None


def kept_away(shard: ShardView, browser: BrowserView) -> bool:
    """Whether a breaker keeps the shard away: open, or half-open with work enough to probe it.

    Such a browser comes last and is not left out, so that a breaker never takes the last one.
    """
    probed = browser.breaker == "half_open" and browser.outstanding > 0
    return probed or browser.breaker == "open" or shard.sha256 in browser.blocked


def peak_mb(shard: ShardView, browser: BrowserView, platform: str) -> float:
    """Memory to plan with: on the named backend, else on the one that needs least of the browser's."""
    backends = [platform] if platform else [backend.name for backend in browser.backends]
    return min(
        (planned_mb(shard.weight_bytes, backend=name) for name in backends),
        default=planned_mb(shard.weight_bytes, backend="wasm"),
    )


def expected_ms(
    shard: ShardView, browser: BrowserView, platform: str, by_history_ms: float | None = None
) -> float:
    """When the shard would be done there: work already waiting, loading if needed, computing.

    `by_history_ms` is the computation as history expects it, used where it was not measured.
    """
    measured = browser.loaded.get(shard.sha256)
    if measured is None:
        measured = by_history_ms
    if measured is None:
        # A backend without a measured time is not preferred to any that has one.
        probes = [
            backend.probe_ms
            for backend in browser.backends
            if backend.probe_ms is not None and platform in ("", backend.name)
        ]
        compute = min(probes, default=float("inf")) * DEFAULT_COMPUTE_PER_PROBE
    else:
        compute = measured
    load = 0.0
    if shard.sha256 not in browser.loaded:
        load = 100.0 + shard.weight_bytes / 2**20 * DEFAULT_LOAD_MS_PER_MB
    return browser.outstanding * (compute + DEFAULT_TASK_MS) + compute + load


def candidates(
    shard: ShardView,
    browsers: Sequence[BrowserView],
    wishes: Wishes,
    *,
    avoid: Mapping[str, str],
    refused: Mapping[str, str],
    used: Mapping[str, int],
) -> list[Candidate]:
    """Browsers that can take the shard, best first.

    A run's shards spread over browsers first (`used` counts the run's other shards per browser): a
    model is cut because one browser is not enough. `avoid` holds browsers on which this shard failed;
    they come last but for those that a breaker keeps it away from, `refused` ones not at all.

    Raises:
        NoBrowser: none can; `lasting` tells whether waiting could help.
    """
    reasons: dict[str, str] = {}
    lasting = True
    fit: list[tuple[BrowserView, Candidate]] = []
    best_ms = _best_ms(shard, browsers, wishes.hints)
    for browser in browsers:
        why = refusal(shard, browser, wishes, refused)
        if why is not None:
            reasons[browser.id] = why[0]
            lasting = lasting and why[1]
            continue
        platform = wishes.for_shard(shard.index).platform
        ratio = wishes.hints.ratios.get(browser.kind)
        by_history = best_ms * ratio if best_ms is not None and ratio is not None else None
        wait = expected_ms(shard, browser, platform, by_history)
        warm = shard.sha256 in browser.loaded
        fit.append((browser, Candidate(browser.id, platform, warm, wait)))
    if not fit:
        raise NoBrowser(shard.index, reasons, lasting=lasting and bool(browsers))
    sides = _sides([browser for browser, _ in fit], wishes)
    families = _used_by(browsers, used, "family") if wishes.critical else {}
    zones = _used_by(browsers, used, "zone") if wishes.critical else {}
    measured = any(browser.loaded.get(shard.sha256) is not None for browser in browsers)
    starting = () if measured else wishes.hints.starting

    def key(item: tuple[BrowserView, Candidate]) -> tuple[bool | int | float | str, ...]:
        browser, candidate = item
        return (
            kept_away(shard, browser),
            browser.id in avoid or browser.short_of_memory,
            browser.kind in wishes.hints.failing,
            wishes.hints.prefer not in ("", browser.kind),
            shard.side is not None and sides[browser.id] != shard.side,
            shard.home not in ("", browser.id),
            families.get(browser.family, 0),
            zones.get(browser.zone, 0),
            used.get(browser.id, 0),
            _order_in_wishes(shard.index, browser, wishes),
            bool(starting) and (browser.kind not in starting or browser.outstanding > 0),
            candidate.expected_ms,
            browser.id,
        )

    return [candidate for _, candidate in sorted(fit, key=key)]


def _best_ms(shard: ShardView, browsers: Sequence[BrowserView], hints: Hints) -> float | None:
    """The best kind's computation, from browsers that measured it and history's ratios.

    Where no browser measured it, it is as if the fastest probe of the pool were the best kind's; None
    where nobody knows that either.
    """
    known = [
        ms / hints.ratios[browser.kind]
        for browser in browsers
        if browser.kind in hints.ratios and (ms := browser.loaded.get(shard.sha256)) is not None
    ]
    if known:
        return min(known)
    probes = [
        b.probe_ms for browser in browsers for b in browser.backends if b.probe_ms is not None
    ]
    return min(probes) * DEFAULT_COMPUTE_PER_PROBE if probes else None


def _used_by(browsers: Sequence[BrowserView], used: Mapping[str, int], what: str) -> Counter[str]:
    """How many of the run's shards each family, or each zone, has."""
    counts: Counter[str] = Counter()
    for browser in browsers:
        counts[getattr(browser, what)] += used.get(browser.id, 0)
    return counts


def _sides(browsers: Sequence[BrowserView], wishes: Wishes) -> dict[str, int]:
    """Two groups of browsers: every other one, in the order of the wishes, else of their ids."""
    ordered = sorted(browsers, key=lambda b: (_order_in_wishes(0, b, wishes), b.id))
    return {browser.id: position % 2 for position, browser in enumerate(ordered)}


def _order_in_wishes(index: int, browser: BrowserView, wishes: Wishes) -> int:
    """With `browsers=a,b` shard 0 goes to a, shard 1 to b, shard 2 to a …; else no order."""
    if not wishes.browsers:
        return 0
    positions = [i for i, wish in enumerate(wishes.browsers) if means(wish, browser)]
    count = len(wishes.browsers)
    return min((position - index) % count for position in positions) if positions else count


def place(
    shards: Sequence[ShardView], browsers: Sequence[BrowserView], wishes: Wishes
) -> list[Candidate]:
    """Place every shard of a plan, in order of index.

    Raises:
        NoBrowser: a shard fits nowhere.
    """
    used: dict[str, int] = {}
    placed = []
    for shard in sorted(shards, key=lambda s: s.index):
        best = candidates(shard, browsers, wishes, avoid={}, refused={}, used=used)[0]
        used[best.browser] = used.get(best.browser, 0) + 1
        placed.append(best)
    return placed
