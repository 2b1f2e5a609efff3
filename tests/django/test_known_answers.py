"""Every file that a plan makes gets answers that are known, or the reason why it has none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from browsers.core.answers.known import Known
from inference.catalog import known_answers, plans, registry
from inference.graph.runtime import session
from inference.models import PlanStep, StepKind
from inference.store.files import path_of
from inference.store.tensors import decode_array, encode_array
from inference.zoo import micro
from inference.zoo.families import FAMILIES

pytestmark = pytest.mark.django_db


def files(steps: list[PlanStep]) -> list[str]:
    return [step.sha256 for step in steps if step.kind == StepKind.COMPUTE]


def known_of(folder: Path, name: str, *nodes: Any, inputs: Any, outputs: Any) -> Known:
    taken, given = (
        [h.make_tensor_value_info(*port) for port in some] for some in (inputs, outputs)
    )
    graph = h.make_graph(list(nodes), "g", taken, given)
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, folder / "m.onnx")
    model = registry.add_model(folder / "m.onnx", name=name)
    (sha256,) = files(plans.steps_of(plans.ensure_plan(model, "none", 1)))
    return known_answers.known(sha256)


@pytest.mark.parametrize(("strategy", "shards"), [("layer", 3), ("tensor", 2), ("data", 2)])
def test_each_file_of_a_plan_answers_as_onnxruntime_does(
    tmp_path: Path, strategy: str, shards: int
) -> None:
    (part,) = FAMILIES["bert"].build(tmp_path, seed=3)
    model = registry.add_model(part.path, name=f"known-{strategy}")
    steps = plans.steps_of(plans.ensure_plan(model, strategy, shards))
    assert files(steps)
    for sha256 in files(steps):
        known = known_answers.known(sha256)
        assert len(known.answers) == 3
        assert (known.constant, known.why_none, known.forms) == ((), "", frozenset())
        runtime = session(str(path_of(sha256)))
        names = [item.name for item in runtime.get_outputs()]
        for answer in known.answers:
            arrays = runtime.run(names, {t.name: decode_array(t) for t in answer.inputs})
            right = [encode_array(name, array) for name, array in zip(names, arrays, strict=True)]
            assert not known.wrong(answer, right)
            off = zip(names, arrays, strict=True)
            assert known.wrong(answer, [encode_array(n, a + np.ones_like(a)) for n, a in off])
            assert known.wrong(answer, right[:-1])


def test_cases_differ_in_sizes_and_name_those_of_their_dimensions(tmp_path: Path) -> None:
    (part,) = FAMILIES["bert"].build(tmp_path, seed=3)
    model = registry.add_model(part.path, name="known-sizes")
    (sha256,) = files(plans.steps_of(plans.ensure_plan(model, "none", 1)))
    known = known_answers.known(sha256)
    assert [sorted(answer.dims.values()) for answer in known.answers] == [[4, 4], [2, 3], [4, 4]]
    assert known.index_limits == {"input_ids": 100, "token_type_ids": 2}


def test_of_large_rows_few_are_asked(tmp_path: Path) -> None:
    """Sound or a large image: a batch of four, three times, takes all the time that there is."""
    nodes = [
        h.make_node("Slice", ["x", "z", "z1", "a"], ["one"]),
        h.make_node("Neg", ["one"], ["y"]),
    ]
    ints = {"z": [0, 0], "z1": [1, 1], "a": [2, 3]}
    nodes = [
        *(h.make_node("Constant", [], [name], value_ints=value) for name, value in ints.items()),
        *nodes,
    ]
    inputs = [("x", T.FLOAT, ["batch", 1, 500, 600])]
    outputs = [("y", T.FLOAT, ["batch", 1, 1, 1])]
    known = known_of(tmp_path, "known-large", *nodes, inputs=inputs, outputs=outputs)
    assert [dict(one.dims) for one in known.answers] == [{"batch": 3}, {"batch": 2}]


@pytest.mark.parametrize("kind", [T.BOOL, T.INT64, T.INT32, T.FLOAT])
def test_a_file_that_takes_a_single_value_has_some(tmp_path: Path, kind: int) -> None:
    """numpy makes no array of it where two values are compared, for one."""
    node = h.make_node("Where", ["x", "v", "w"] if kind == T.BOOL else ["c", "x", "w"], ["y"])
    value = T.FLOAT if kind == T.BOOL else kind
    others = {"v": value, "w": value} if kind == T.BOOL else {"c": T.BOOL, "w": value}
    inputs: list[Any] = [("x", kind, []), *((name, of, []) for name, of in others.items())]
    known = known_of(tmp_path, "single", node, inputs=inputs, outputs=[("y", value, [])])
    assert known.why_none == ""
    assert {tensor.shape for one in known.answers for tensor in one.inputs} == {()}


def test_a_file_that_draws_random_numbers_has_none(tmp_path: Path) -> None:
    node = h.make_node("RandomNormalLike", ["x"], ["y"])
    port = ("x", T.FLOAT, ["n"]), ("y", T.FLOAT, ["n"])
    known = known_of(tmp_path, "known-random", node, inputs=port[:1], outputs=port[1:])
    assert (known.answers, known.random) == ((), True)
    assert known.why_none == "it draws random numbers (RandomNormalLike)"


def test_a_file_that_takes_strings_has_none(tmp_path: Path) -> None:
    node = h.make_node("Identity", ["x"], ["y"])
    port = ("x", T.STRING, ["n"]), ("y", T.STRING, ["n"])
    known = known_of(tmp_path, "known-strings", node, inputs=port[:1], outputs=port[1:])
    assert (known.answers, known.why_none) == ((), "it takes or gives strings")


def test_a_file_that_takes_no_made_up_input_says_what_onnxruntime_said(tmp_path: Path) -> None:
    node = h.make_node("Reshape", ["x", "s"], ["y"])
    ports = [("x", T.FLOAT, [7]), ("s", T.INT64, [2])], [("y", T.FLOAT, ["a", "b"])]
    known = known_of(tmp_path, "known-none", node, inputs=ports[0], outputs=ports[1])
    assert not known.answers
    assert "onnxruntime answers no made-up input" in known.why_none
    assert "Reshape" in known.why_none


def test_an_output_that_is_always_the_same_number_is_told(tmp_path: Path) -> None:
    nodes = [h.make_node("Sub", ["x", "x"], ["y"]), h.make_node("Neg", ["x"], ["z"])]
    outputs = [("y", T.FLOAT, ["n"]), ("z", T.FLOAT, ["n"])]
    known = known_of(
        tmp_path, "known-zero", *nodes, inputs=[("x", T.FLOAT, ["n"])], outputs=outputs
    )
    assert known.constant == ("y",)


def test_a_deep_net_is_asked_with_images_that_are_large_enough(tmp_path: Path) -> None:
    ones = h.make_tensor("ones", T.FLOAT, [1, 1, 7, 7], [1.0] * 49)
    nodes = [h.make_node("Constant", [], ["k"], value=ones), h.make_node("Conv", ["x", "k"], ["y"])]
    ports = [("x", T.FLOAT, ["n", 1, "h", "w"])], [("y", T.FLOAT, ["n", 1, "p", "q"])]
    known = known_of(tmp_path, "known-deep", *nodes, inputs=ports[0], outputs=ports[1])
    assert [t.shape for answer in known.answers for t in answer.inputs] == [(8, 1, 8, 8)] * 3


def test_a_deleted_file_leaves_no_answer_behind(tmp_path: Path) -> None:
    model = registry.add_model(micro.chain(tmp_path / "chain.onnx", seed=9), name="known-gone")
    (sha256,) = files(plans.steps_of(plans.ensure_plan(model, "none", 1)))
    assert known_answers.path_of(sha256).exists()
    model.delete()
    registry.discard({sha256})
    assert not known_answers.path_of(sha256).exists()


def test_of_a_file_whose_answers_cannot_be_read_the_file_itself_is_known(tmp_path: Path) -> None:
    (part,) = FAMILIES["bert"].build(tmp_path, seed=4)
    model = registry.add_model(part.path, name="known-broken")
    (sha256,) = files(plans.steps_of(plans.ensure_plan(model, "none", 1)))
    known_answers.path_of(sha256).write_bytes(b"half a file")
    known = known_answers.known(sha256)
    assert not known.answers
    assert "none was kept" in known.why_none
    assert known.index_limits["input_ids"] == 100


def test_callers_that_are_first_at_once_all_find_the_answers(tmp_path: Path) -> None:
    model = registry.add_model(micro.chain(tmp_path / "chain.onnx"), name="known-at-once")
    steps = plans.steps_of(plans.ensure_plan(model, "none", 1))
    (sha256,) = files(steps)
    kept = known_answers.path_of(sha256)
    for _ in range(5):
        kept.unlink()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: known_answers.make(steps), range(8)))
        assert known_answers.known(sha256).answers
        assert list(kept.parent.glob("*.part")) == []
