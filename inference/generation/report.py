"""What became of a session, for who asks afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import redis.exceptions

from inference.core.generation.stages import Decoder, Stage
from inference.documents import JsonObject
from inference.generation import endings, placing, prefixes, streams
from inference.models import GenerationSession, SessionState


def of_session(session_id: str) -> JsonObject:
    """A session as a document: its text as tokens, where each stage is, what was recovered.

    `kept`: its caches may serve a session whose prompt begins alike; `cached_tokens`: what of its own prompt
    was taken so. `step_ms` is what the stage's steps of one token, and of those drafted after it, took to
    compute, together; of a run that several texts shared its part (half of it where there were two), so that
    what all texts say adds up to what the browsers computed; null: not known any more. `speculation`: how
    many positions were drafted, and how many of them were right; null: not known any more, or none are
    drafted.
    `numbers` of a recovery: whether the stage goes on with the numbers that it had: "the same" on wasm; else
    "others", of another browser or adapter, which may write another text from there on.
    `standbys` of a stage: whether each follows it, and why not any more.
    `layers` are the first and the last of a stage's, from 0; null: its caches do not tell.
    `seconds` are from when it was asked for to when its end was written down; null: it goes on.
    """
    session = GenerationSession.objects.select_related("model", "plan").get(pk=session_id)
    backend = placing.backend_of(session.wanted)
    stages, decoder = session.plan.num_shards, session.decoder
    spent: Sequence[float | None] = [None] * stages
    kept, drafted = False, None
    with contextlib.suppress(redis.exceptions.RedisError):  # the row tells without the store
        if session.state != SessionState.ENDED:
            endings.write_down(session)
            session.refresh_from_db()
        spent = streams.spent_ms(session_id, stages)
        kept = prefixes.is_kept(session)
        if placing.speculates(session.wanted, decoder):
            drafted = streams.drafted(session_id)
    return {
        "session": str(session.pk),
        "model": session.model.name,
        "state": session.state,
        "ending": session.ending,
        "error": session.error,
        "prompt_tokens": len(session.wanted.prompt),
        "cached_tokens": session.reused,
        "kept": kept,
        "tokens": session.tokens,
        "seconds": _seconds(session),
        "backend": backend,
        "speculation": None if drafted is None else {"drafted": drafted[0], "right": drafted[1]},
        "stages": [
            {
                "stage": row.index,
                "browser": row.browser,
                "epoch": row.epoch,
                "states": len(row.stage.states),
                "layers": _layers(row.stage, decoder),
                "weight_bytes": row.plan_step.weight_bytes,
                "unproved": row.unproved,
                "standbys": [
                    {
                        "browser": each.browser,
                        "follows": bool(each.opened_by) and not each.category,
                        "why": each.why,
                    }
                    for each in row.standbys.all()
                ],
                "step_ms": spent[row.index],
            }
            for row in session.stages.select_related("plan_step").prefetch_related("standbys")
        ],
        "recoveries": [
            {
                "stage": row.stage,
                "lost_by": row.lost_by,
                "taken_by": row.taken_by,
                "how": row.how,
                "category": row.category,
                "why": row.why,
                "opened_s": row.opened_s,
                "seconds": row.seconds,
                "numbers": "the same" if backend == placing.WASM else "others",
            }
            for row in session.recoveries.all()
        ],
    }


def _seconds(session: GenerationSession) -> float | None:
    if session.finished_at is None:
        return None
    return (session.finished_at - session.created_at).total_seconds()


def _layers(stage: Stage, decoder: Decoder) -> list[int] | None:
    """The first and last layer of a stage: each layer has the same number of caches, in order."""
    order = [state.past for state in decoder.whole.states]
    known = {past: place * decoder.layers // len(order) for place, past in enumerate(order)}
    if not stage.states or len(order) % decoder.layers:
        return None
    layers = [known[state.past] for state in stage.states if state.past in known]
    return [min(layers), max(layers)] if len(layers) == len(stage.states) else None
