"""Sessions that write text: models held for them, and steps on their caches.

Loading and holding is done by the thread that uses the browser's session. Steps may come from another one:
they take turns with other computations in the page's engine.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from browsers.bridge import Refusal, Reply, reported
from browsers.core.errors import BrowserError
from browsers.core.protocol import WireTensor
from browsers.session.backends import Backends
from browsers.session.deadline import Deadline
from browsers.session.kept import Kept
from browsers.session.page import ENGINE_START_S, Page
from browsers.session.proving import Proving
from browsers.session.residents import ModelKey, Residents


@dataclass(frozen=True)
class StepAsked:
    """One step of a session on a model that is held for it (runtime/caches.js).

    `step`: epoch, start, count, drafted, top_k, and with a session's first step its stage. `batch`: steps
    on the same model that name the same one may be computed in one run; None: it is computed alone.
    """

    holder: str
    model_sha256: str
    backend: str
    step: Mapping[str, Any]
    tensors: Sequence[WireTensor]
    batch: int | None = None

    def header(self) -> dict[str, Any]:
        return {
            **ModelKey.of(self.model_sha256, self.backend).header(),
            **self.step,
            "session": self.holder,
            "batch": self.batch,
            "tensors": len(self.tensors),
        }


class Decoding:
    """The caches in one page. A `holder` names a session's stage; a cache is freed by that name."""

    def __init__(
        self, page: Page, backends: Backends, residents: Residents, proving: Proving | None
    ) -> None:
        self._page, self._backends = page, backends
        self._residents, self._proving = residents, proving

    def hold(
        self, holder: str, model_sha256: str, *, backend: str, cache_mb: float, deadline_s: float
    ) -> str:
        """Load a model for a session and keep it, with room for a cache of so many MB, until `release`.

        Returns why it is not proved that the backend answers the file right; empty: it is.

        Raises:
            BrowserError: it does not fit, or the backend does not compute it.
        """
        deadline = Deadline(deadline_s)

        def attempt(name: str, _refused: Mapping[str, BrowserError], named: bool) -> str:
            key = ModelKey.of(model_sha256, name)
            unproved = ""
            if self._proving:
                unproved = self._proving.allow_at_any_size(key, deadline, named=named)
            self._residents.ready(key, False, deadline)
            self._residents.pin(holder, key, cache_mb)
            return unproved

        return self._backends.on_first_able(backend, deadline, attempt)

    def steps(self, asked: Sequence[StepAsked], *, timeout_s: float) -> list[Reply | Refusal]:
        """Steps of sessions on models that are held for them, one after another or in one run; any thread.

        What became of each: what it gave, and in its header how long its run took, of how many where it was
        not alone (`together`), how long all were in the page, and on the way there and back with that.
        NotLoaded: the engine has another one since, without the model. StepRefused: the cache is not where
        the step begins. BrowserError: what the page reported.

        Raises:
            BrowserError: what became of the page.
        """
        headers = [each.header() for each in asked]
        tensors = [tensor for each in asked for tensor in each.tensors]
        reply, given = self._page.step("decode", {"steps": headers}, tensors, timeout_s)
        left = iter(given)
        way = {"page_ms": reply["page_ms"], "round_trip_ms": reply["round_trip_ms"]}
        return [
            reported(answer["error"])
            if "error" in answer
            else (answer | way, list(itertools.islice(left, answer["count"])))
            for answer in reply["answers"]
        ]

    def keep(self, holder: str, mb: float) -> None:
        """Keep a session's cache of so many MB until its memory is wanted; from any thread.

        Its model is kept no longer than others.
        """
        self._residents.kept.add(holder, mb)
        self._residents.unpin(holder)

    @property
    def kept(self) -> Kept:
        """The caches that are kept."""
        return self._residents.kept

    def release(self, holder: str) -> None:
        """Free a session's cache, and keep its model no longer than others; from any thread."""
        self._residents.unpin(holder)
        with contextlib.suppress(BrowserError):  # without a page there is no cache
            self._page.step("forget", {"session": holder}, (), ENGINE_START_S)
