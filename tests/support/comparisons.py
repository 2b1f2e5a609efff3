"""A comparison's row without what it stands for: for tests of who may see and steer it."""

from __future__ import annotations

from django.utils import timezone

from inference.models import Comparison, ComparisonCell, OnnxModel


def comparison_row(model: OnnxModel, *, owner: str) -> Comparison:
    """One cell that waits for its turn."""
    reference = {
        "onnxruntime": "1", "tolerance": 1e-4, "not_judged": "", "outputs": [],
        "output_sha256": "",
    }  # fmt: skip
    made = Comparison.objects.create(
        model=model, model_sha256=model.sha256, source="random", runs=1, seed=1, owner=owner, inputs=[],
        reference=reference, created_at=timezone.now(),
        asked={"browsers": [], "backends": [], "strategies": [], "rows": None, "strict": False},
    )  # fmt: skip
    ComparisonCell.objects.create(
        comparison=made, index=0, browser="a", backend="wasm", strategy="none"
    )
    return made
