"""Every file that a plan makes gets an answer that is known, and only the right one passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference import known_answers, plans, registry
from inference.graph.model import session
from inference.models import PlanShard, StepKind
from inference.tensors import decode_array, encode_array
from inference.zoo import micro
from inference.zoo.families import FAMILIES

pytestmark = pytest.mark.django_db


def files(steps: list[PlanShard]) -> list[str]:
    return [step.sha256 for step in steps if step.kind == StepKind.COMPUTE]


@pytest.mark.parametrize(("strategy", "shards"), [("layer", 3), ("tensor", 2), ("data", 2)])
def test_each_file_of_a_plan_answers_as_onnxruntime_does(
    tmp_path: Path, strategy: str, shards: int
) -> None:
    (part,) = FAMILIES["bert"].build(tmp_path, seed=3)
    model = registry.add_model(part.path, name=f"known-{strategy}")
    steps = plans.steps_of(plans.ensure_plan(model, strategy, shards))
    assert files(steps)
    for sha256 in files(steps):
        known = known_answers.known_answer(sha256)
        assert known is not None
        runtime = session(str(registry.path_of(sha256)))
        names = [item.name for item in runtime.get_outputs()]
        arrays = runtime.run(names, {t.name: decode_array(t) for t in known.inputs})
        right = [encode_array(name, array) for name, array in zip(names, arrays, strict=True)]
        assert known.confirms(right)
        wrong = [encode_array(n, a + np.ones_like(a)) for n, a in zip(names, arrays, strict=True)]
        assert not known.confirms(wrong)
        assert not known.confirms(right[:-1])


def test_a_deleted_file_leaves_no_answer_behind(tmp_path: Path) -> None:
    model = registry.add_model(micro.chain(tmp_path / "chain.onnx", seed=9), name="known-gone")
    (sha256,) = files(plans.steps_of(plans.ensure_plan(model, "none", 1)))
    assert known_answers.path_of(sha256).exists()
    model.delete()
    registry.discard({sha256})
    assert not known_answers.path_of(sha256).exists()


def test_what_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    path = known_answers.path_of("cd" * 32)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half a file")
    assert known_answers.known_answer("cd" * 32) is None
    assert known_answers.known_answer("ef" * 32) is None
    path.unlink()
