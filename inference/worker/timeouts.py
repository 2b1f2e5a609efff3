"""Deadlines for computations, from what the same work took in this browser before.

A worker remembers its latest computations by file and size of the inputs; what it does not remember yet it
reads from the ledger, once. A deadline that was passed is forgotten with all that led to it: what is slower
now than it ever was is not taken for a hang twice.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Final

from django.conf import settings

from history.core.shapes import shape_bucket
from inference.core.timeouts import by_history_s, by_size_s
from inference.models import Attempt, Outcome

_LATEST: Final = 20
_LOOK_BACK: Final = 20_000  # attempts of the whole pool
_MOST_KEYS: Final = 1000
_Key = tuple[str, str]


class Durations:
    """Of one browser; used by its worker's main thread alone."""

    def __init__(self, browser_id: str) -> None:
        self._browser = browser_id
        self._ms: OrderedDict[_Key, deque[float]] = OrderedDict()

    def allowed_s(
        self,
        sha256: str,
        shapes: Mapping[str, Sequence[int]],
        weight_bytes: int,
        *,
        loaded: bool,
    ) -> float:
        """How long it may take; `loaded`: the file is in the page and has run there."""
        known = by_history_s(self._of(sha256, shapes)) if loaded else None
        if known is not None:
            return known
        return by_size_s(weight_bytes, base_s=settings.WEBPOOL_ATTEMPT_TIMEOUT_S)

    def note(self, sha256: str, shapes: Mapping[str, Sequence[int]], ms: float) -> None:
        """A warm computation took so long, in and out."""
        self._of(sha256, shapes).append(ms)

    def forget(self, sha256: str, shapes: Mapping[str, Sequence[int]]) -> None:
        """A deadline was passed."""
        self._keep(_key(sha256, shapes), deque(maxlen=_LATEST))

    def _of(self, sha256: str, shapes: Mapping[str, Sequence[int]]) -> deque[float]:
        key = _key(sha256, shapes)
        known = self._ms.get(key)
        if known is None:
            known = deque(self._recorded(*key), maxlen=_LATEST)
        self._keep(key, known)
        return known

    def _keep(self, key: _Key, known: deque[float]) -> None:
        self._ms[key] = known
        self._ms.move_to_end(key)
        while len(self._ms) > _MOST_KEYS:
            self._ms.popitem(last=False)

    def _recorded(self, sha256: str, bucket: str) -> list[float]:
        latest = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        rows = Attempt.objects.filter(
            pk__gt=latest - _LOOK_BACK,
            browser=self._browser,
            shard__plan_step__sha256=sha256,
            outcome=Outcome.SUCCEEDED,
            warm=True,
        )
        facts = rows.order_by("-pk").values_list("shapes", "compute_ms", "transfer_ms")
        took = [
            compute_ms + (transfer_ms or 0.0)
            for shapes, compute_ms, transfer_ms in facts[: 5 * _LATEST]
            if compute_ms is not None and shape_bucket(shapes) == bucket
        ]
        return took[:_LATEST][::-1]


def _key(sha256: str, shapes: Mapping[str, Sequence[int]]) -> _Key:
    return sha256, _bucket(tuple((name, tuple(shape)) for name, shape in shapes.items()))


@functools.lru_cache(maxsize=256)
def _bucket(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    """Asked for twice with each computation, mostly of the same sizes."""
    return shape_bucket(dict(shapes))
