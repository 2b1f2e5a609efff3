"""No backend computes a file before it answered it right: trying it, and remembering what came of it.

What is decided is in core/proofs.py. A backend that the caller named is tried at once, with the inputs that
were sent; one that would be preferred is tried while the browser is idle, and wasm answers until then. What
a backend never answered right it computes in an engine of its own: one that stops costs no loaded model.
A trial that takes down page or browser may be chance the first time; the second time it counts. So may one
that breaks wasm, which is asked again at once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from browsers.core.answers.agreement import disagreement
from browsers.core.answers.bad_forms import bad_form, bad_values, unlike_natively
from browsers.core.answers.known import Known
from browsers.core.answers.proofs import (
    ANY_SHAPES,
    Excluded,
    Proof,
    Standing,
    Unproved,
    Verdict,
    ever_right,
    scope_of,
    shapes_of,
    standing,
)
from browsers.core.answers.variants import variants
from browsers.core.errors import BrowserError, OutOfMemory
from browsers.core.failures import Category, Retry
from browsers.core.protocol import WireTensor
from browsers.session.backends import Backends
from browsers.session.deadline import Deadline
from browsers.session.page import Page
from browsers.session.residents import FileUnusable, ModelKey, Residents
from browsers.session.trials import TrialEngine

log = logging.getLogger(__name__)
WASM: Final = "wasm"
_MOST_UNTRIED: Final = 8
_MOST_BYTES: Final = 64_000_000
_AGAIN_S: Final = 60.0  # what is not proved may be by now, by another browser of the same build
# So many breakdowns while a file is tried say nothing of it; a busy machine passes a deadline more often.
_BY_CHANCE: Final = 1
_LATE_BY_CHANCE: Final = 3
_LEAST_SCALE: Final = 1e-6  # probabilities of many classes are small, and yet an answer


class ProofBook(Protocol):
    """Where proofs of this build of the browser are kept."""

    def recall(self, sha256: str) -> Sequence[Proof]: ...

    def remember(self, proof: Proof) -> None: ...


@dataclass(frozen=True)
class _Untried:
    key: ModelKey
    inputs: Sequence[WireTensor]


class Proving:
    """Used by one thread; `due` by any. `known` says what is known of a file, by its SHA-256."""

    def __init__(
        self,
        browser_id: str,
        page: Page,
        backends: Backends,
        residents: Residents,
        book: ProofBook,
        known: Callable[[str], Known],
    ) -> None:
        self._id, self._backends, self._residents = browser_id, backends, residents
        self._engine = TrialEngine(page, residents)
        self._book, self._known = book, known
        self._build: object = None
        self._recalled: dict[str, tuple[float, list[Proof]]] = {}
        self._untried: OrderedDict[tuple[str, str, str], _Untried] = OrderedDict()
        self._breakdowns: Counter[tuple[str, str]] = Counter()

    # --- before a computation ---

    def allow(
        self, key: ModelKey, inputs: Sequence[WireTensor], deadline: Deadline, *, named: bool
    ) -> str:
        """Let a backend compute these inputs; returns why its answer is not proved, empty if it is.

        Args:
            named: the caller asked for this backend: it is tried now if it never was.

        Raises:
            Excluded: it is known to answer wrongly, or answered so now.
            Unproved: it was not tried yet, and nobody named it.
            BrowserError: what wasm says of the inputs, or what broke while the backend was tried.
        """
        known = self._known(key.sha256)
        if key.backend == WASM:
            return _both(self._allow_wasm(key.sha256, known, deadline), unlike_natively(inputs))
        self._refuse_bad(key, known, inputs, named=named)
        if known.random:
            return self._unprovable(key, known.why_none, named=named)
        shapes = shapes_of(inputs)
        stands, why = self._standing(key, shapes)
        if stands is Standing.EXCLUDED:
            raise Excluded(f"{self._id}: {key.backend} does not compute this file: {why}")
        if stands is Standing.PROVED:
            return known.weakness
        if not named:
            self._note(key, inputs, shapes)
            raise Unproved(f"{key.backend} was not tried with {shapes} yet")
        return self._try(key, inputs, known, deadline)

    def allow_at_any_size(self, key: ModelKey, deadline: Deadline, *, named: bool) -> str:
        """Let a backend compute a file at sizes that change with each step: `allow`, for its known answers.

        Raises:
            Unproved: there is no known answer; else as `allow`.
        """
        if key.backend == WASM:
            return self.allow(key, (), deadline, named=named)
        known = self._known(key.sha256)
        if not known.answers:
            raise Unproved(f"{key.backend} cannot be proved: {known.why_none}")
        tried = known.answers[0].inputs
        weakness = self.allow(key, tried, deadline, named=named)
        return _both(weakness, f"tried with {shapes_of(tried)}; its steps have other sizes")

    def proved(self, key: ModelKey, inputs: Sequence[WireTensor]) -> bool:
        """Whether a computation there would need no trial."""
        if key.backend == WASM and not self._known(key.sha256).answers:
            return True  # there is nothing to try it with
        shapes = ANY_SHAPES if key.backend == WASM else shapes_of(inputs)
        return self._standing(key, shapes)[0] is Standing.PROVED

    def may_load(self, key: ModelKey) -> None:
        """Refuse to load a file ahead on a backend other than wasm that never answered it.

        Raises:
            Unproved, Excluded: it did not.
        """
        if key.backend == WASM or ever_right(self._proofs(key.sha256), key.backend):
            return
        stands, why = self._standing(key, ANY_SHAPES)
        if stands is Standing.EXCLUDED:
            raise Excluded(f"{self._id}: {key.backend} does not compute this file: {why}")
        raise Unproved(f"{key.backend} was not tried with this file yet")

    def exclude(self, sha256: str, backend: str, why: str) -> None:
        """Remember that a backend answered a file wrongly while nobody waited, and unload it there."""
        key = ModelKey.of(sha256, backend)
        self._remember(key, ANY_SHAPES, Verdict.WRONG, why)
        self._residents.release(key)

    def _refuse_bad(
        self, key: ModelKey, known: Known, inputs: Sequence[WireTensor], *, named: bool
    ) -> None:
        facts = self._backends.known()
        why = bad_form(known.forms, key.backend, facts.kind, facts.version)
        why = why or bad_values(inputs, known.index_limits)
        if why:
            remedy = "; ask for platform wasm, or for none" if named else ""
            raise Excluded(f"{self._id}: {key.backend} is not used here: {why}{remedy}")

    def _unprovable(self, key: ModelKey, why: str, *, named: bool) -> str:
        if named:
            return why
        raise Unproved(f"{key.backend} cannot be proved: {why}")

    # --- while nobody waits ---

    @property
    def due(self) -> bool:
        """Whether a backend that would be preferred waits to be tried."""
        return bool(self._untried)

    def try_next(self, deadline: Deadline) -> None:
        """Try what waits longest; without room for it beside what is loaded it is left.

        Raises:
            BrowserError: it could not be tried, or did not do well.
        """
        if not self._untried:
            return
        waiting = self._untried.popitem(last=False)[1]
        key = waiting.key
        if not self._residents.fits_beside(key):
            return
        self._try(key, waiting.inputs, self._known(key.sha256), deadline)
        self._residents.ready(key, False, deadline)  # whoever asks next meets it loaded

    def _note(self, key: ModelKey, inputs: Sequence[WireTensor], shapes: str) -> None:
        """Remember these inputs for when there is time; the oldest are left out where there are many."""
        name = (key.sha256, key.backend, shapes)
        if name in self._untried:
            return
        self._untried[name] = _Untried(key, inputs)
        while len(self._untried) > 1 and (
            len(self._untried) > _MOST_UNTRIED or self._waiting_bytes() > _MOST_BYTES
        ):
            self._untried.popitem(last=False)

    def _waiting_bytes(self) -> int:
        return sum(len(t.data) for one in self._untried.values() for t in one.inputs)

    # --- trying ---

    def _allow_wasm(self, sha256: str, known: Known, deadline: Deadline) -> str:
        key = ModelKey.of(sha256, WASM)
        stands, why = self._standing(key, ANY_SHAPES)
        if stands is Standing.EXCLUDED:
            raise Excluded(f"{self._id}: {WASM} does not compute this file: {why}")
        if known.answers and stands is Standing.OPEN:
            self._ask_known(key, known, deadline)
            self._remember(key, ANY_SHAPES, Verdict.RIGHT, cases=len(known.answers))
        return known.weakness

    def _ask_known(self, key: ModelKey, known: Known, deadline: Deadline) -> None:
        """Have a backend give the known answers.

        Raises:
            Excluded: one of them was wrong.
        """
        for number, answer in enumerate(known.answers, 1):
            asked = ModelKey.of(key.sha256, key.backend, answer.dims)
            got = self._answer(asked, answer.inputs, deadline)
            if why := known.wrong(answer, got):
                self._exclude(key, Verdict.WRONG, f"known answer {number}: {why}")

    def _try(
        self, key: ModelKey, inputs: Sequence[WireTensor], known: Known, deadline: Deadline
    ) -> str:
        """Have wasm and the backend answer the same; returns why that proves nothing, empty: it was right."""
        oracle = ModelKey.of(key.sha256, WASM)
        try:
            self._backends.require(WASM, deadline)
            self._allow_wasm(key.sha256, known, deadline)
            right = self._compute(oracle, inputs, deadline)
        except BrowserError as error:
            if error.category.retry is not Retry.NEVER_HERE:
                raise
            return self._try_without_wasm(key, known, deadline, error.message)
        self._backends.require(key.backend, deadline)
        try:
            cases = self._compare(key, oracle, inputs, right, known, deadline)
        finally:
            self._engine.end()
        self._remember(key, shapes_of(inputs), Verdict.RIGHT, cases=cases)
        return known.weakness

    def _compare(
        self,
        key: ModelKey,
        oracle: ModelKey,
        inputs: Sequence[WireTensor],
        right: Sequence[WireTensor],
        known: Known,
        deadline: Deadline,
    ) -> int:
        """How many different inputs the backend answered as wasm did; `right` is its answer to those asked.

        Raises:
            Excluded: it answered one of them otherwise.
        """
        tried = 0
        for case in variants(inputs):
            try:
                asked = case == list(inputs)
                want = right if asked else self._compute(oracle, case, deadline)
            except BrowserError as error:
                if error.category.distrusted:
                    raise
                continue  # this model does not take such values
            got = self._answer(key, case, deadline)
            if why := disagreement(got, want, tolerance=known.tolerance, least_scale=_LEAST_SCALE):
                why = f"{shapes_of(case)}: {why}, by wasm beside it"
                only = ANY_SHAPES if scope_of(case) == ANY_SHAPES else shapes_of(inputs)
                self._exclude(key, Verdict.WRONG, why, only)
            tried += 1
        return tried

    def _try_without_wasm(self, key: ModelKey, known: Known, deadline: Deadline, why: str) -> str:
        """Known answers are what is left; they say nothing of other shapes."""
        if not known.answers:
            return f"wasm cannot answer it here ({why}); no known answer: {known.why_none}"
        shapes = shapes_of(known.answers[0].inputs)
        if self._standing(key, shapes)[0] is Standing.OPEN:
            self._backends.require(key.backend, deadline)
            try:
                self._ask_known(key, known, deadline)
            finally:
                self._engine.end()
            self._remember(key, shapes, Verdict.RIGHT, cases=len(known.answers))
        return f"proved for {shapes} only: wasm cannot answer it here ({why})"

    def _answer(
        self, key: ModelKey, inputs: Sequence[WireTensor], deadline: Deadline
    ) -> Sequence[WireTensor]:
        """What a backend answers to inputs that are known to be good; asked again after a mishap."""
        known_to_work = key.backend == WASM or ever_right(self._proofs(key.sha256), key.backend)
        try:
            if known_to_work:
                return self._compute(key, inputs, deadline)
            return self._engine.run(key, inputs, deadline)
        except (OutOfMemory, FileUnusable):
            raise  # neither says anything of the backend
        except BrowserError as error:
            by_chance = self._may_be_chance(key, error)
            if not by_chance:
                self._note_failure(key, error)
            if error.category.distrusted:
                raise
            if by_chance:
                return self._answer(key, inputs, deadline)
            raise Excluded(
                f"{self._id}: {key.backend} failed at this file when it was tried: {error.message}"
            ) from error

    def _compute(
        self, key: ModelKey, inputs: Sequence[WireTensor], deadline: Deadline
    ) -> Sequence[WireTensor]:
        return self._residents.run(key, inputs, None, False, deadline, as_use=False).outputs

    def _may_be_chance(self, key: ModelKey, error: BrowserError) -> bool:
        """Whether a failure at good inputs does not count yet: it says nothing of the backend for good.

        What breaks page or browser may be chance; so may anything inside of wasm, the best there is.
        """
        if error.category.distrusted and key.backend == WASM:
            return True
        if error.category.distrusted or (
            error.category is Category.INTERNAL and key.backend == WASM
        ):
            self._breakdowns[key.sha256, key.backend] += 1
            late = error.category is Category.TIMEOUT
            by_chance = _LATE_BY_CHANCE if late else _BY_CHANCE
            return self._breakdowns[key.sha256, key.backend] <= by_chance
        return False

    def _note_failure(self, key: ModelKey, error: BrowserError) -> None:
        broke = error.category is Category.INTERNAL or error.category.distrusted
        self._remember(key, ANY_SHAPES, Verdict.BROKE if broke else Verdict.REFUSED, error.message)

    # --- what came of it ---

    def _exclude(
        self, key: ModelKey, verdict: Verdict, why: str, shapes: str = ANY_SHAPES
    ) -> NoReturn:
        self._remember(key, shapes, verdict, why)
        raise Excluded(f"{self._id}: {key.backend} answers this file wrongly: {why}")

    def _remember(
        self, key: ModelKey, shapes: str, verdict: Verdict, why: str = "", *, cases: int = 0
    ) -> None:
        proof = Proof(key.sha256, key.backend, shapes, verdict, why, cases)
        if verdict is Verdict.RIGHT:
            self._breakdowns.pop((key.sha256, key.backend), None)
        else:
            log.warning(
                "%s: %s on %s: %s: %s", self._id, key.sha256[:12], key.backend, verdict, why
            )
        self._proofs(key.sha256).append(proof)
        self._book.remember(proof)

    def _standing(self, key: ModelKey, shapes: str) -> tuple[Standing, str]:
        return standing(self._proofs(key.sha256), key.backend, shapes)

    def _proofs(self, sha256: str) -> list[Proof]:
        """What is known of a file: of this browser at once, of others of its build as of a minute ago.

        Not knowing yet what another found lets no unproved answer out: what is not proved here is tried here.
        """
        if (build := self._backends.build) != self._build:  # another browser, or another adapter
            self._build = build
            self._recalled.clear()
        at, found = self._recalled.get(sha256, (-_AGAIN_S, []))
        if time.monotonic() - at >= _AGAIN_S:
            found = list(self._book.recall(sha256))
            self._recalled[sha256] = (time.monotonic(), found)
        return found


def _both(*weaknesses: str) -> str:
    return "; ".join(filter(None, weaknesses))
