"""Runs as a caller asks for them, of models that take rows of four numbers."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from browsers.redis import client
from inference.catalog import registry
from inference.models import OnnxModel, Run
from inference.runs.creation import RunRequest, create_run
from inference.store import tensors
from inference.zoo import micro
from tests.support.ledger import publish

ROWS_PER_MB = 2**20 // 16


@contextlib.contextmanager
def only_chain(folder: Path) -> Iterator[OnnxModel]:
    """A model of five layers in a store that has nothing else, and a browser to run it."""
    client().flushall()
    publish("a")
    file = micro.chain(folder / "chain.onnx", layers=5, size=4)
    yield registry.add_model(file, name=f"chain-{uuid.uuid4().hex[:6]}")
    Run.objects.all().delete()
    OnnxModel.objects.all().delete()
    client().flushall()


def start(model: OnnxModel, owner: str, rows: int = 1, **options: Any) -> Run:
    x = tensors.encode_array("x", np.zeros((rows, 4), np.float32))
    return create_run(RunRequest(model=model.name, inputs=[x], owner=owner, **options))
