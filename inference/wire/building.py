"""Large JSON in the process that `apart` asks: built there, told as arrays and a small rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from inference.conversion.documents import Bounds, check_rest, parse
from inference.conversion.exact import array_of
from inference.documents import Array
from inference.sandbox import Answer
from inference.wire.apart import BODY, REST
from inference.wire.oip.tensors import decode_json_tensor
from inference.wire.oip.travelling import Travelling, travelling

_INPUTS = "inputs"
_kept: dict[str, object] = {}  # the values of a run's inputs, until their types are told


def document(arrays: Mapping[str, Array], bounds: Mapping[str, int]) -> Answer:
    """A document without tensors."""
    return _small(_built(arrays, bounds))


def run(arrays: Mapping[str, Array], bounds: Mapping[str, int]) -> Answer:
    """A run as /api/runs/ takes it; of its inputs the tensors, or the names: `values` is asked next."""
    _kept.clear()
    document = _built(arrays, bounds)
    inputs = document.get(_INPUTS) if isinstance(document, dict) else None
    if isinstance(inputs, list):
        sent = travelling([decode_json_tensor(entry) for entry in inputs])
        return _small({**document, _INPUTS: None}, sent)
    if isinstance(inputs, dict):
        _kept.update(inputs)
        document[_INPUTS] = dict.fromkeys(inputs)
    return _small(document)


def values(arrays: Mapping[str, Array], types: Mapping[str, str]) -> Answer:
    """What `run` or `named` kept, as arrays of the ports' types."""
    kept = dict(_kept)
    _kept.clear()
    made = {name: array_of(name, kept[name], kind, json=True) for name, kind in types.items()}
    return Answer(None, made)


def named(arrays: Mapping[str, Array], bounds: Mapping[str, int]) -> Answer:
    """An object of name → nested list: the names; `values` is asked next."""
    _kept.clear()
    document = _built(arrays, bounds)
    if isinstance(document, dict):
        _kept.update(document)
        return _small(dict.fromkeys(document))
    return _small(document)


def _built(arrays: Mapping[str, Array], bounds: Mapping[str, int]) -> Any:
    return parse(arrays[BODY].data, Bounds(**bounds))


def _small(document: object, sent: Travelling | None = None) -> Answer:
    check_rest(document)
    rest = np.frombuffer(json.dumps(document, ensure_ascii=False).encode(), np.uint8)
    sent = sent or Travelling(None, {})
    return Answer(sent.described, {REST: rest, **sent.arrays})
