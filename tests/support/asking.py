"""Runs as a caller asks for them, of models that take rows of four numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.models import OnnxModel, Run
from inference.runs.creation import RunRequest, create_run
from inference.store import tensors

ROWS_PER_MB = 2**20 // 16


def start(model: OnnxModel, owner: str, rows: int = 1, **options: Any) -> Run:
    x = tensors.encode_array("x", np.zeros((rows, 4), np.float32))
    return create_run(RunRequest(model=model.name, inputs=[x], owner=owner, **options))
