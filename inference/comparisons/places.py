"""Which cells a comparison has: browsers × backends × ways as the pool is, and why nobody can run some."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from browsers.core.answers.bad_forms import bad_form, bad_values
from browsers.core.naming import means
from browsers.models import Browser, BrowserState
from browsers.state.live import LiveBrowser, living
from history import vocabulary
from inference.comparisons.reference import File, Reference
from inference.core.comparisons.cells import CellState
from inference.documents import JsonObject
from inference.errors import UnknownBrowser
from inference.models import ComparisonCell
from inference.store.tensors import WireTensor

_WASM: Final = "wasm"  # its answers are the same everywhere: nothing is held against it


@dataclasses.dataclass(frozen=True)
class Column:
    """What every browser is asked for: a backend, and a way to run the model, such as layer:2."""

    backend: str
    strategy: str


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A browser's row, and what its worker says now; None: it is silent."""

    row: Browser
    live: LiveBrowser | None

    @property
    def missing(self) -> str:
        """Why it takes nothing; empty: it does."""
        if self.row.quarantined:
            return f"it is in quarantine: {self.row.drain_reason or 'no reason was given'}"
        if self.row.drained_at is not None:
            return f"it takes no new shards: {self.row.drain_reason or self.row.drain_kind}"
        if self.live is None:
            return (
                f"its worker is silent; {self.row.state}: {self.row.reason or 'no reason is known'}"
            )
        return ""


def cells_for(
    wishes: Sequence[str], columns: Sequence[Column], reference: Reference
) -> list[ComparisonCell]:
    """The cells (unsaved), in the order of the wishes; without wishes one browser of each kind and version.

    Each browser has a cell of every column.

    Raises:
        UnknownBrowser: a wish that names no kind, family or id that there is.
    """
    lives = living()
    rows = Browser.objects.order_by("pk")
    seen = [_Seen(row, lives.get(row.pk)) for row in rows]
    found: list[ComparisonCell] = []
    if not wishes:
        here = [one for one in seen if one.row.state != BrowserState.STOPPED or one.live]
        found += _of_browsers(_one_of_each(here), columns, reference)
    for wish in wishes:
        named = [one for one in seen if means(wish, one.row)]
        if not named:
            found += _absent(wish, columns, seen)
            continue
        exact = [one for one in named if one.row.pk == wish]
        found += _of_browsers(exact or _one_of_each(named), columns, reference)
    unique = {(cell.browser, cell.backend, cell.strategy): cell for cell in reversed(found)}
    cells = list(unique.values())[::-1]
    for index, cell in enumerate(cells):
        cell.index = index
    return cells


def _one_of_each(seen: Sequence[_Seen]) -> list[_Seen]:
    """One browser of each kind and version: those that take work first."""
    kept: dict[tuple[str, str], _Seen] = {}
    for one in sorted(seen, key=lambda each: bool(each.missing)):
        kept.setdefault((one.row.kind, _version(one)), one)
    return sorted(kept.values(), key=lambda one: one.row.pk)


def _version(one: _Seen) -> str:
    return (one.live.version if one.live else "") or one.row.version


def _absent(wish: str, columns: Sequence[Column], seen: Sequence[_Seen]) -> list[ComparisonCell]:
    have = ", ".join(one.row.pk for one in seen if one.live) or "none"
    if wish not in vocabulary.browsers():
        raise UnknownBrowser(
            f"browser {wish!r}: expected an id, kind or family of a browser here ({have}) or a kind of "
            f"{', '.join(vocabulary.browsers())}"
        )
    why = f"the pool has no {wish}; it has {have}"
    return [_cell(wish, wish, "", column, untried=why) for column in columns]


def _of_browsers(
    seen: Sequence[_Seen], columns: Sequence[Column], reference: Reference
) -> list[ComparisonCell]:
    return [_of(one, column, reference) for one in seen for column in columns]


def _of(one: _Seen, column: Column, reference: Reference) -> ComparisonCell:
    row, backend = one.row, column.backend
    facts: JsonObject = next((fact for fact in row.backends if fact["name"] == backend), {})
    cell = _cell(
        row.pk,
        row.kind,
        _version(one),
        column,
        untried=one.missing
        or _not_offered(one, backend, facts.get("error"))
        or _known_fault(backend, row.kind, _version(one), reference),
    )
    cell.adapter, cell.software = facts.get("adapter") or "", facts.get("software")
    return cell


def _not_offered(one: _Seen, backend: str, probed: str | None) -> str:
    assert one.live is not None
    if any(offered.name == backend for offered in one.live.backends):
        return ""
    return f"it offers no {backend}: {probed or 'its probe gave no reason'}"


def _known_fault(backend: str, kind: str, version: str, reference: Reference) -> str:
    if backend == _WASM:
        return ""
    for file in reference.files:
        why = bad_form(file.known.forms, backend, kind, version)
        why = why or bad_values(_given(file, reference.question.inputs), file.known.index_limits)
        if why:
            return f"{backend} is not used for it: {file.told(why)}"
    return ""


def _given(file: File, inputs: Sequence[WireTensor]) -> list[WireTensor]:
    """The inputs that a file takes itself, under its own names."""
    known = {tensor.name: tensor for tensor in inputs}
    return [
        dataclasses.replace(known[tensor], name=name)
        for name, tensor in file.taken.items()
        if tensor in known
    ]


def _cell(browser: str, kind: str, version: str, column: Column, *, untried: str) -> ComparisonCell:
    return ComparisonCell(
        browser=browser,
        kind=kind,
        version=version,
        backend=column.backend,
        strategy=column.strategy,
        state=CellState.UNTRIED.value if untried else CellState.WAITING.value,
        reason=untried,
    )
