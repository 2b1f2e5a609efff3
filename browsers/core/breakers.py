"""The breakers of one browser: its own, and one for each model file it computes.

`failures.Blame` says what a failure counts against: both, the model there, or nobody; a crash opens the
browser's at once, and is one failure of the model in it.

A crash says more of the browser than of the model: only three in a row with the same model say it is that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from browsers.core import breaker as one
from browsers.core.breaker import Breaker, BreakerState
from browsers.core.failures import Blame, Category

_MOST_MODELS: Final = 256


@dataclass(frozen=True)
class Breakers:
    """`models` by the file's SHA-256; a missing one is closed."""

    browser: Breaker = field(default_factory=Breaker)
    models: Mapping[str, Breaker] = field(default_factory=dict)

    def state(self, now: float) -> BreakerState:
        return one.state_at(self.browser, now)

    def blocked_models(self, now: float, *, busy: bool) -> frozenset[str]:
        """The models whose own breaker keeps them away; a half-open one does while the browser is `busy`."""
        return frozenset(
            sha
            for sha, it in self.models.items()
            if not one.admits(it, now) or (busy and one.state_at(it, now) is BreakerState.HALF_OPEN)
        )

    def spotless(self, sha256: str) -> bool:
        """A success with this model would change nothing."""
        return self.browser.spotless and self._model(sha256).spotless

    def probing(self, sha256: str, now: float) -> bool:
        """Work with this model would be a probe of one of them."""
        return BreakerState.HALF_OPEN in (
            self.state(now),
            one.state_at(self._model(sha256), now),
        )

    def failed(self, category: Category, now: float, *, sha256: str = "") -> Breakers:
        """An attempt with that model failed, or the browser without one ("")."""
        blame, own = category.blame, self.browser
        if blame is Blame.NOBODY:
            return self
        if blame is not Blame.MODEL:
            own = one.failed(own, now, crash=blame is Blame.CRASH)
        return self._with(sha256, one.failed(self._model(sha256), now), own)

    def succeeded(self, now: float, *, sha256: str = "", probe: str = "") -> Breakers:
        own = one.succeeded(self.browser, now, probe=probe)
        return self._with(sha256, one.succeeded(self._model(sha256), now, probe=probe), own)

    def repaired(self, now: float) -> Breakers:
        """The browser was repaired; what single models did stands."""
        return dataclasses.replace(self, browser=one.repaired(self.browser, now))

    def begin_probe(self, now: float, *, owner: str, sha256: str = "") -> Breakers | None:
        """With `owner` as the probe of those that are half-open; None when another one probes."""
        own, model = self.browser, self._model(sha256)
        if self.state(now) is BreakerState.HALF_OPEN:
            taken = one.begin_probe(own, now, owner=owner)
            if taken is None:
                return None
            own = taken
        if one.state_at(model, now) is BreakerState.HALF_OPEN:
            taken = one.begin_probe(model, now, owner=owner)
            if taken is None:
                return None
            model = taken
        return self._with(sha256, model, own)

    def _model(self, sha256: str) -> Breaker:
        return self.models.get(sha256, Breaker())

    def _with(self, sha256: str, model: Breaker, own: Breaker) -> Breakers:
        models = {sha: it for sha, it in self.models.items() if sha != sha256}
        if sha256 and not model.spotless:
            models[sha256] = model
        while len(models) > _MOST_MODELS:
            del models[next(iter(models))]  # the one that was noted longest ago
        return Breakers(own, models)

    def to_json(self) -> dict[str, Any]:
        return {
            "browser": dataclasses.asdict(self.browser),
            "models": {sha: dataclasses.asdict(it) for sha, it in self.models.items()},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Breakers:
        models = {sha: _breaker(item) for sha, item in fields["models"].items()}
        return cls(_breaker(fields["browser"]), models)


def _breaker(fields: Mapping[str, Any]) -> Breaker:
    return Breaker(**{**fields, "state": BreakerState(fields["state"])})
