"""Texts under fire: written one after another, heard token by token, each compared with onnxruntime's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import redis.exceptions
from django.db import DatabaseError

from inference.core.generation.asked import Asked, Ended, Ending, TokenWritten
from inference.errors import Busy, Unavailable
from inference.generation import serving
from inference.models import GenerationSession
from webpool_site.lab.faults.callers import AGAIN_S, Callers
from webpool_site.lab.faults.texts import prompts
from webpool_site.lab.faults.texts.campaign import registered

OWNER = "fire"
_TOKENS, _DIFFERENT = 128, 8


class Writers(Callers):
    """Callers who listen to every token.

    Attributes:
        asked: sessions that were begun.
        written: those whose every token was heard once, in order, and is onnxruntime's.
        wrong: those with another token, one that is missing or was told twice.
        failed: those that ended without their text, with the reason.
    """

    def __init__(self, *, callers: int, stages: int, seed: int) -> None:
        super().__init__()
        self._model, native = registered()
        draw = Random(f"{seed}/texts")
        self._right: dict[tuple[int, ...], list[int]] = {}
        for _ in range(_DIFFERENT):
            prompt, right = prompts.draw(native, draw, _TOKENS)
            self._right[prompt] = right
        self._stages = stages
        self.asked: set[str] = set()
        self.written: set[str] = set()
        self.wrong: list[str] = []
        self.failed: dict[str, str] = {}
        for number in range(callers):
            self._add(self._write, f"{seed}/{number}")

    def _write(self, draw: Random) -> None:
        prompt = draw.choice(list(self._right))
        stages = draw.randint(1, self._stages)
        try:
            asked = Asked(prompt, _TOKENS, ignore_end=True, shards=stages)
            session = serving.start(self._model, asked, OWNER)
        except (Unavailable, Busy, DatabaseError, redis.exceptions.RedisError) as refusal:
            self._refused(type(refusal).__name__)
            return
        except Exception as error:
            self._unexpected("asking for a text", error)
            return
        with self._lock:
            self.asked.add(session)
        try:
            heard, ended = _hear(session)
        except Exception as error:
            self._unexpected(f"listening to {session}", error)
            return
        with self._lock:
            if ended.ending is not Ending.LENGTH:
                self.failed[session] = f"{ended.category}: {ended.error}"
            elif _is_right(heard, self._right[prompt]):
                self.written.add(session)
            else:
                self.wrong.append(session)

    def verdict(self) -> dict[str, Any]:
        """Ask the callers, then the ledger: a text that was heard is the one that is kept."""
        rows = GenerationSession.objects.filter(owner=OWNER)
        kept: Mapping[str, GenerationSession] = {str(row.pk): row for row in rows}
        return {
            "asked": len(self.asked),
            "written": len(self.written),
            "wrong": self.wrong,
            "failed": self.failed,
            "refused": dict(self.refused),
            "unexpected": self.unexpected,
            "not_ended": sorted(key for key, row in kept.items() if row.state != "ended"),
            "kept_otherwise": sorted(
                key
                for key in self.written
                if key not in kept or kept[key].tokens != self._right[kept[key].wanted.prompt]
            ),
            "unknown_to_callers": sorted(kept.keys() - self.asked),
            "recoveries": sum(row.recoveries.count() for row in kept.values()),
        }


def _hear(session: str) -> tuple[Sequence[TokenWritten], Ended]:
    """Every token as it comes; a listener whose database is away comes again."""
    heard: list[TokenWritten] = []
    while True:
        try:
            for event in serving.listen(session, after=len(heard)):
                if isinstance(event, TokenWritten):
                    heard.append(event)
                elif isinstance(event, Ended):
                    return heard, event
        except (DatabaseError, redis.exceptions.RedisError):
            time.sleep(AGAIN_S)


def _is_right(heard: Sequence[TokenWritten], right: Sequence[int]) -> bool:
    told = [(event.index, event.pick.token) for event in heard]
    return told == list(enumerate(right))


def violations(told: Mapping[str, Any]) -> dict[str, Any]:
    """What should not be, by what it is."""
    return {
        "texts with a token that is wrong, missing or repeated": told["wrong"],
        "texts that failed": told["failed"],
        "texts that never ended": told["not_ended"],
        "texts that are kept otherwise than they were heard": told["kept_otherwise"],
        "texts that nobody asked for": told["unknown_to_callers"],
        "errors that nobody who listens should see": told["unexpected"],
    }


def sentence(told: Mapping[str, Any]) -> str:
    """The outcome for a person."""
    return (
        f"{told['written']} of {told['asked']} texts right to the token; wrong {len(told['wrong'])}, failed "
        f"{len(told['failed'])}, never ended {len(told['not_ended'])}; {told['recoveries']} stages given on"
    )
