"""How many tokens a run really gave its model: counted from the inputs, never assumed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from inference.models import ModelType, RunStep, Strategy
from inference.store.tensors import WireTensor, decode_array

_IDS: Final = ("input_ids", "decoder_input_ids")
_MASK: Final = "attention_mask"
_OF_TEXT: Final = (ModelType.TEXT, ModelType.TEXT_EMBEDDING)
_WHOLE: Final = (Strategy.NONE, Strategy.DATA)


def tokens_of(shard: RunStep, inputs: Sequence[WireTensor]) -> int | None:
    """Tokens of a whole text model's inputs, without padding where a mask tells of it.

    None for other models, and for parts of a model: their times are not the model's.
    """
    plan = shard.run.plan
    whole = plan.num_shards == 1 or plan.strategy in _WHOLE
    if not whole or shard.run.model.model_type not in _OF_TEXT:
        return None
    by_name = {tensor.name: tensor for tensor in inputs}
    ids = next((by_name[name] for name in _IDS if name in by_name), None)
    if ids is None:
        return None
    mask = by_name.get(_MASK)
    if mask is not None and mask.shape == ids.shape:
        return int(np.count_nonzero(decode_array(mask)))
    return prod(ids.shape)
