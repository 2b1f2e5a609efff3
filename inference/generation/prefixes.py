"""Which caches of sessions that have ended are kept, and whose prompt begins like a new one.

Redis keys
    webpool:gen:kept:<model>:<owner>  hash: <session>:<stage> → the browser that keeps its cache, and which of
                                      that browser's workers it was, with a space between

An owner's caches serve that owner's sessions alone: how fast an answer comes would tell others what was
asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from browsers.redis import client
from browsers.state import live
from inference.core.generation.asked import Asked
from inference.core.generation.prefixes import LEAST, reusable
from inference.generation import placing
from inference.models import GenerationSession, OnnxModel


@dataclass(frozen=True)
class Prefix:
    """The first `length` positions of a session's prompt are kept; `browsers`: in which, stage by stage."""

    session: GenerationSession
    length: int
    browsers: tuple[str, ...]


def shelf_of(model: OnnxModel, owner: str) -> str:
    """The key under which this owner's caches of this model are listed."""
    return f"webpool:gen:kept:{model.pk}:{owner}"


def put(shelf: str, session: str, stage: int, browser: str, worker: str) -> None:
    """A stage's cache is kept there."""
    pipe = client().pipeline()
    pipe.hset(shelf, f"{session}:{stage}", f"{browser} {worker}")
    pipe.pexpire(shelf, int(settings.WEBPOOL_KEEP_S * 1000) + 60_000)
    pipe.execute()


def remove(shelf: str, session: str, stage: int) -> None:
    """It is kept no more."""
    client().hdel(shelf, f"{session}:{stage}")


def is_kept(session: GenerationSession) -> bool:
    """Whether the caches of all its stages are kept."""
    shelf = shelf_of(session.model, session.owner)
    return _browsers(session, _kept(shelf)) is not None


def find(model: OnnxModel, asked: Asked, owner: str) -> Prefix | None:
    """What is kept of the prompt; the longest, of equals the latest."""
    if len(asked.prompt) <= LEAST:
        return None
    kept = _kept(shelf_of(model, owner))
    if not kept:
        return None
    rows = GenerationSession.objects.filter(pk__in=set(kept), model=model, owner=owner)
    best: Prefix | None = None
    for row in rows.select_related("plan").order_by("-created_at"):
        browsers = _browsers(row, kept)
        if browsers is None or not _wanted(asked, row, browsers):
            continue
        length = reusable(row.wanted.prompt, asked.prompt)
        if length > (best.length if best is not None else 0):
            best = Prefix(row, length, browsers)
    return best


def _kept(shelf: str) -> dict[str, dict[int, str]]:
    """By session and stage the browser, of those whose worker lives and takes work.

    What died with its worker is listed no more.
    """
    found: Any = client().hgetall(shelf)
    alive = live.living() if found else {}
    kept: dict[str, dict[int, str]] = {}
    lost = []
    for name, where in found.items():
        session, _, stage = name.decode().rpartition(":")
        browser, _, worker = where.decode().rpartition(" ")
        there = alive.get(browser)
        if there is None or there.worker != worker:
            lost.append(name)
        elif there.state == "ready":
            kept.setdefault(session, {})[int(stage)] = browser
    if lost:
        client().hdel(shelf, *lost)
    return kept


def _browsers(
    session: GenerationSession, kept: Mapping[str, Mapping[int, str]]
) -> tuple[str, ...] | None:
    stages = kept.get(str(session.pk), {})
    count = session.plan.num_shards
    return tuple(stages[i] for i in range(count)) if len(stages) == count else None


def _wanted(asked: Asked, kept: GenerationSession, browsers: tuple[str, ...]) -> bool:
    return (
        asked.shards in (0, len(browsers))
        and (not asked.browsers or set(browsers) <= set(asked.browsers))
        and placing.backend_of(asked) == placing.backend_of(kept.wanted)
    )
