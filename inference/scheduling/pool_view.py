"""The pool as placement sees it: live browsers and how much is waiting for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from browsers import clock
from browsers.models import Browser, BrowserState, DrainKind
from browsers.state.live import LiveBrowser, living_meanwhile
from inference.core.placement import BackendView, BrowserView
from inference.errors import UnknownBrowser
from inference.models import GenerationStage, GenerationStandby, SessionState
from inference.store.sql.running import rows
from inference.store.sql.statements import read_sql

_OUTSTANDING = read_sql("outstanding")
# A browser that was stopped on purpose is perhaps being restarted: for so long it is waited for.
_COMES_BACK_WITHIN = timedelta(seconds=30)


def outstanding() -> dict[str, int]:
    """Shards queued or running, per browser."""
    return dict(rows(_OUTSTANDING))


def stages_held() -> Counter[str]:
    """Stages of texts that are being written, and their standbys, per browser; "": none could take it yet."""
    held = GenerationStage.objects.filter(session__state=SessionState.RUNNING)
    beside = GenerationStandby.objects.filter(
        stage__session__state=SessionState.RUNNING, category=""
    )
    stages = Counter(held.order_by().values_list("browser", flat=True))
    stages.update(beside.order_by().values_list("browser", flat=True))
    return stages


def snapshot() -> list[BrowserView]:
    """Every browser whose lease holds, in order of id."""
    living, waiting = living_meanwhile(outstanding)
    return [_view(live, waiting.get(live.id, 0)) for live in living.values()]


def absent(pool: Iterable[BrowserView], *, hoped_for: bool = False) -> list[BrowserView]:
    """Browsers that are not in `pool` because their worker is down, but that are expected back.

    One in quarantine is not; with `hoped_for` one that the pool put there is, for its worker goes on trying.
    """
    long_ago = clock.now() - _COMES_BACK_WITHIN
    rows = Browser.objects.exclude(state=BrowserState.STOPPED, state_changed_at__lt=long_ago)
    given_up = [DrainKind.QUARANTINED, *([] if hoped_for else [DrainKind.GIVEN_UP])]
    rows = rows.exclude(drain_kind__in=given_up)
    return [
        BrowserView(
            id=row.id, kind=row.kind, family=row.family, state="down", backends=(), loaded={},
            resident_bytes=0, memory_limit_mb=row.memory_limit_mb, outstanding=0,
        )
        for row in rows.exclude(pk__in=[browser.id for browser in pool])
    ]  # fmt: skip


def get_browser(browser_id: str) -> Browser:
    """The row of a browser, whether it lives or not.

    Raises:
        UnknownBrowser: names those that there are.
    """
    row = Browser.objects.filter(pk=browser_id).first()
    if row is None:
        ids = ", ".join(Browser.objects.values_list("pk", flat=True)) or "none"
        raise UnknownBrowser(f"no browser has the id {browser_id!r}; known: {ids}")
    return row


def _view(live: LiveBrowser, waiting: int) -> BrowserView:
    now = clock.unix()
    return BrowserView(
        id=live.id,
        kind=live.kind,
        family=live.family,
        state=live.state,
        backends=tuple(BackendView(b.name, b.software, b.probe_ms) for b in live.backends),
        loaded={sha: model.compute_ms for sha, model in live.loaded.items()},
        resident_bytes=live.resident_bytes,
        memory_limit_mb=live.memory_limit_mb,
        outstanding=waiting,
        row_ms={sha: model.row_ms for sha, model in live.loaded.items() if model.row_ms},
        short_of_memory=live.short_of_memory,
        zone=live.zone,
        host=live.host,
        cores=live.cores,
        threads=live.threads,
        breaker=live.breakers.state(now).value,
        withheld=live.withheld,
        blocked=live.breakers.blocked_models(now, busy=waiting > 0),
    )
