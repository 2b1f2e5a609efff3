"""Ports of models and shards as the database keeps them: JSON to `TensorSpec` and back."""

from __future__ import annotations

from collections.abc import Iterable

from inference.documents import JsonView
from inference.graph.spec import TensorSpec


def specs(items: Iterable[JsonView]) -> list[TensorSpec]:
    return [TensorSpec.from_json(item) for item in items]
