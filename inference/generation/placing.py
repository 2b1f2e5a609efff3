"""Which browser a stage goes to: placement as for shards, with what sessions already hold in mind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from django.conf import settings

from browsers.core.failures import Category, Retry
from inference.core.generation.asked import Asked
from inference.core.generation.stages import Decoder, Stage
from inference.core.placement import BrowserView, NoBrowser, ShardView, candidates, place
from inference.graph.decoding.states import bytes_per_position
from inference.models import OnnxModel, PlanStep, stage_of
from inference.scheduling.pool_view import snapshot, stages_held
from inference.scheduling.wishes import wishes_from

WASM: Final = "wasm"
BACKENDS: Final = (WASM, "webgpu")
"""What texts are written on: WebNN wants sizes that do not grow."""
# A cache is in the page and in onnxruntime's heap, the one that a step takes and the one that it gives:
# planned, not measured.
_COPIES: Final = 4


def positions(asked: Asked, decoder: Decoder) -> int:
    """How many positions a session may come to."""
    return min(decoder.context, len(asked.prompt) + asked.max_tokens)


def mb_per_position(stage: Stage) -> float:
    """What a position of a stage's cache takes in the page, in MB."""
    return sum(map(bytes_per_position, stage.states)) / 1e6


def cache_mb(stage: Stage, decoder: Decoder, asked: Asked) -> float:
    """Memory that is planned for a stage's cache while its session goes on, in MB."""
    return _COPIES * mb_per_position(stage) * positions(asked, decoder)


def _cache_bytes(stage: Stage, decoder: Decoder, asked: Asked) -> int:
    cache = sum(map(bytes_per_position, stage.states)) * positions(asked, decoder)
    return cache + asked.memory_bytes * len(stage.memory) // max(1, len(decoder.whole.memory))


def backend_of(asked: Asked) -> str:
    return asked.backend or WASM


def alike(asked: Asked, decoder: Decoder) -> bool:
    """Whether a position's numbers are known to be the same, whatever its step computes beside it.

    Its steps may be computed with those of other sessions then. Several threads may split a product otherwise
    where there are more rows; so may another backend.
    """
    return decoder.alike and backend_of(asked) == WASM and settings.WEBPOOL_THREADS == 1


def speculates(asked: Asked, decoder: Decoder) -> bool:
    """Whether its steps may compute drafted positions: where the text is known to be the same with them."""
    return asked.speculation and alike(asked, decoder)


def pool() -> list[BrowserView]:
    """The browsers that live; stages of sessions, and their standbys, count as work that waits for them."""
    stages = stages_held()
    return [
        dataclasses.replace(view, outstanding=view.outstanding + stages[view.id])
        for view in snapshot()
    ]


def stages_that_fit(model: OnnxModel, asked: Asked, decoder: Decoder) -> int:
    """The smallest number of stages whose weights and caches fit into browsers that are there.

    Raises:
        NoBrowser: none does.
    """
    views, wishes = pool(), wishes_from(asked.browsers, backend_of(asked), {})
    cache_bytes = decoder.state_bytes * positions(asked, decoder) + asked.memory_bytes
    count = 1
    while True:
        part = (model.weight_bytes + cache_bytes) // count
        try:
            place([ShardView(index, "", part) for index in range(count)], views, wishes)
        except NoBrowser:
            if count == decoder.layers:
                raise
            count = min(decoder.layers, count * 2)
        else:
            return count


def browser_for(
    shard: PlanStep,
    asked: Asked,
    decoder: Decoder,
    *,
    beside: Mapping[str, int],
    avoid: Mapping[str, str],
    views: Sequence[BrowserView],
) -> str:
    """The best browser for a stage.

    Args:
        beside: how many of the session's other stages each browser holds.
        avoid: browser on which the stage failed → category.

    Raises:
        NoBrowser: none can take it; `lasting` tells whether waiting could help.
    """
    wishes = wishes_from(asked.browsers, backend_of(asked), {})
    cache_bytes = _cache_bytes(stage_of(shard), decoder, asked)
    view = ShardView(shard.index, shard.sha256, shard.weight_bytes + cache_bytes)
    refused = {b: why for b, why in avoid.items() if Category.of(why).retry is Retry.NEVER_HERE}
    soft = {b: why for b, why in avoid.items() if b not in refused}
    ranked = candidates(view, views, wishes, avoid=soft, refused=refused, used=beside)
    return ranked[0].browser
