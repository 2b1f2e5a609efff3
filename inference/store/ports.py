"""Ports of models and shards as the database keeps them: JSON to `TensorSpec` and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inference.graph.spec import TensorSpec


def specs(items: Iterable[Mapping[str, Any]]) -> list[TensorSpec]:
    return [TensorSpec.from_json(item) for item in items]
