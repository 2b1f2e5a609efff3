"""Inputs and files that a browser refuses, asked of native onnxruntime over the step's own file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from django.utils import timezone
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from browsers.core.errors import (
    BrowserCrash,
    BrowserError,
    DeadlinePassed,
    InternalError,
    InvalidInput,
    Judged,
    ModelIncompatible,
)
from browsers.core.failures import Category
from browsers.session.residents import FileUnusable
from browsers.state import breakers
from inference.catalog import registry
from inference.errors import InvalidRequest
from inference.ledger import claims, results
from inference.ledger.attempts import AttemptFacts
from inference.models import OnnxModel, PlanStep, Run, RunState, RunStep
from inference.runs.inputs import prepare
from inference.store.files import path_of
from inference.store.tensors import encode_array
from inference.worker import judging
from inference.worker.judging import judged
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")
vi, nd = h.make_tensor_value_info, h.make_node
TOP_K: Any = (
    [nd("TopK", ["x", "k"], ["y", "i"])],
    [vi("x", T.FLOAT, ["n"]), vi("k", T.INT64, [1])],
    [vi("y", T.FLOAT, ["m"]), vi("i", T.INT64, ["m"])],
    {},
)
CONV: Any = (
    [nd("Conv", ["x", "w"], ["y"])],
    [vi("x", T.FLOAT, ["n", "c", "h", "v"])],
    [vi("y", T.FLOAT, ["n", 3, "a", "b"])],
    {"w": np.ones((3, 2, 3, 3), np.float32)},
)
DIV: Any = (
    [nd("Div", ["x", "d"], ["y"])],
    [vi("x", T.INT32, ["n"]), vi("d", T.INT32, ["n"])],
    [vi("y", T.INT32, ["n"])],
    {},
)
RESHAPE: Any = (
    [nd("Reshape", ["x", "s"], ["y"])],
    [vi("x", T.FLOAT, ["n"]), vi("s", T.INT64, [1])],
    [vi("y", T.FLOAT, ["m"])],
    {},
)
BODY = h.make_graph(
    [nd("Identity", ["go"], ["on"]), nd("Add", ["v", "v"], ["w"])],
    "body",
    [vi("i", T.INT64, []), vi("go", T.BOOL, []), vi("v", T.FLOAT, [1])],
    [vi("on", T.BOOL, []), vi("w", T.FLOAT, [1])],
)
LOOP: Any = (
    [nd("Squeeze", ["m"], ["turns"]), nd("Loop", ["turns", "", "x"], ["y"], body=BODY)],
    [vi("m", T.INT64, [1]), vi("x", T.FLOAT, [1])],
    [vi("y", T.FLOAT, [1])],
    {},
)


def step_of(folder: Path, name: str, made: Any) -> tuple[Run, RunStep]:
    """A claimed shard whose file is that model."""
    nodes, ins, outs, weights = made
    held = [nh.from_array(array, n) for n, array in weights.items()]
    graph = h.make_graph(nodes, "g", ins, outs, held)
    onnx.save(
        h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), folder / "m.onnx"
    )
    model = registry.add_model(folder / "m.onnx", name=name)
    publish("a")
    publish("b")
    run = make_run("layer", 1)
    PlanStep.objects.filter(plan=run.plan).update(sha256=model.sha256)
    row = run.shards.get()
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    shard.plan_step.sha256 = model.sha256
    return run, shard


def asked(shard: RunStep, error: Any = None, **inputs: Any) -> str:
    """Why no browser could do it; empty: another is asked."""
    told = judged_of(shard, error or InternalError("whatever a browser says"), **inputs)
    return told.message if told.everywhere else ""


def judged_of(shard: RunStep, error: BrowserError, **inputs: Any) -> Judged:
    wire = [encode_array(name, np.asarray(array)) for name, array in inputs.items()]
    return judged(shard, wire, error)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("name", "made", "good", "bad"),
    [
        ("topk", TOP_K, {"x": floats(3), "k": [2]}, {"x": floats(3), "k": [9]}),
        ("conv", CONV, {"x": floats(1, 2, 6, 6)}, {"x": floats(1, 5, 6, 6)}),
        ("reshape", RESHAPE, {"x": floats(6), "s": [6]}, {"x": floats(6), "s": [4]}),
        (
            "div",
            DIV,
            {"x": np.array([-(2**31)], np.int32), "d": np.array([2], np.int32)},
            {"x": np.array([-(2**31)], np.int32), "d": np.array([-1], np.int32)},
        ),
    ],
)
def test_what_native_onnxruntime_cannot_do_is_the_callers(
    tmp_path: Path, name: str, made: Any, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    _, shard = step_of(tmp_path, f"bad-{name}", made)
    assert asked(shard, **good) == ""
    assert "cannot compute these inputs" in asked(shard, **bad)


def test_a_division_without_a_quotient_is_refused_before_it_reaches_a_browser(
    tmp_path: Path,
) -> None:
    """WebAssembly traps on it, which costs its browser the engine with every model in it."""
    _, shard = step_of(tmp_path, "bad-door", DIV)
    model = registry.get_model("bad-door")
    x, d = np.array([8, -(2**31)], np.int32), np.array([-1, 2], np.int32)
    assert len(prepare(model, [encode_array("x", x), encode_array("d", d)]).tensors) == 2
    assert asked(shard, x=x, d=d) == "", "as onnxruntime has it"
    with pytest.raises(
        InvalidRequest, match="model bad-door cannot compute these inputs: input 'x' holds -21474"
    ):
        prepare(model, [encode_array("x", x), encode_array("d", d[::-1])])
    OnnxModel.objects.filter(pk=model.pk).update(summary={})
    older = registry.get_model("bad-door")
    assert prepare(older, [encode_array("x", x), encode_array("d", d[::-1])]), (
        "nothing is known of it"
    )


def test_such_a_run_ends_with_the_reason_and_no_browser_is_blamed(tmp_path: Path) -> None:
    run, shard = step_of(tmp_path, "bad-ends", TOP_K)
    reason = asked(shard, x=floats(3), k=[9])
    facts = AttemptFacts(shard.browser, timezone.now())
    results.record_failure(shard, Category.INVALID_INPUT, reason, facts)
    breakers.failed(shard.browser, Category.INVALID_INPUT, sha256=shard.plan_step.sha256)
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, Category.INVALID_INPUT)
    assert reason in run.error
    assert run.shards.get().attempts == 1
    assert breakers.read(["a", "b"])["a"] == breakers.CLOSED


def test_a_loop_whose_turns_the_caller_counts_ends_with_the_second_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "_MOST_S", 2.0)
    run, shard = step_of(tmp_path, "bad-loop", LOOP)
    few, endless = {"m": [3], "x": floats(1)}, {"m": [2**40], "x": floats(1)}
    late = DeadlinePassed("no answer within 60 s")
    assert asked(shard, late, **endless) == "", "one browser may stand still by chance"
    facts = AttemptFacts(shard.browser, timezone.now())
    results.record_failure(shard, Category.TIMEOUT, str(late), facts)
    again = run.shards.get()
    assert again.browser != shard.browser
    second = claims.claim(again.pk, again.fence, timezone.now())
    assert second is not None
    second.plan_step.sha256 = shard.plan_step.sha256
    assert asked(second, late, **few) == ""
    assert "comes to no end in time with these inputs" in asked(second, late, **endless)


def test_inputs_that_kill_pages_end_after_the_second(tmp_path: Path) -> None:
    run, shard = step_of(tmp_path, "bad-kills", DIV)
    killing = {"x": np.array([-(2**31)], np.int32), "d": np.array([-1], np.int32)}
    first = shard.browser
    assert asked(shard, BrowserCrash("the page is gone"), **killing) == ""
    facts = AttemptFacts(first, timezone.now())
    results.record_failure(shard, Category.BROWSER_CRASH, "the page is gone", facts)
    row = run.shards.get()
    assert row.browser != first
    again = claims.claim(row.pk, row.fence, timezone.now())
    assert again is not None
    again.plan_step.sha256 = shard.plan_step.sha256
    assert "SIGFPE" in asked(again, BrowserCrash("the page is gone"), **killing)
    assert (
        asked(again, BrowserCrash("gone"), x=np.array([4], np.int32), d=np.array([2], np.int32))
        == ""
    )


WORDS = (
    "This is an invalid model. [ShapeInferenceError] Mismatch between declared and inferred shapes"
)
REFUSED = InternalError("/src/onnxruntime/core/op_kernel.cc:83 Tensor storage size overflowed\n")


def elsewhere(shard: RunStep, told: Judged) -> RunStep:
    """The shard's attempt in another browser, all those before written down as failed so."""
    first = shard.browser
    while shard.browser == first:
        results.record_failure(
            shard, told.category, told.message, AttemptFacts(shard.browser, timezone.now())
        )
        row = RunStep.objects.get(pk=shard.pk)
        again = claims.claim(row.pk, row.fence, timezone.now())
        assert again is not None
        again.plan_step.sha256 = shard.plan_step.sha256
        shard = again
    return shard


def test_a_file_that_one_browser_refuses_by_its_words_goes_to_another(tmp_path: Path) -> None:
    run, shard = step_of(tmp_path, "alone-file", RESHAPE)
    error = ModelIncompatible(WORDS)
    told = judged_of(shard, error, x=floats(6), s=[6])
    assert (told.message, told.everywhere) == (str(error), False)
    again = elsewhere(shard, told)
    results.record_failure(
        again, told.category, told.message, AttemptFacts(again.browser, timezone.now())
    )
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, Category.NO_BROWSER)
    assert f"a said: {error}; b said: {error}" in run.error


@pytest.mark.parametrize(
    "error", [REFUSED, InvalidInput("Got invalid dimensions for input: x")], ids=["words", "inputs"]
)
def test_inputs_that_two_browsers_refuse_and_native_onnxruntime_takes_end_the_run(
    tmp_path: Path, error: BrowserError
) -> None:
    """Whatever path of a build the words have, of which none is shown."""
    run, shard = step_of(tmp_path, f"refused-{error.category}", RESHAPE)
    told = judged_of(shard, error, x=floats(6), s=[6])
    assert (told.category, told.everywhere) == (Category.REFUSED, False)
    shard = elsewhere(shard, told)
    told = judged_of(shard, error, x=floats(6), s=[6])
    assert (told.category, told.everywhere) == (Category.REFUSED, True)
    results.fail_run(
        shard, told.category, told.message, AttemptFacts(shard.browser, timezone.now())
    )
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, Category.REFUSED)
    assert "onnxruntime itself takes these inputs, and no browser can compute them" in run.error


def test_a_refusal_counts_when_another_browser_has_computed_the_same(tmp_path: Path) -> None:
    _, shard = step_of(tmp_path, "refused-alone", RESHAPE)
    first = shard.browser
    told = judged_of(shard, REFUSED, x=floats(6), s=[6])
    shard = elsewhere(shard, told)
    assert breakers.read([first])[first] == breakers.CLOSED
    judging.count_refusals(shard)
    refused = breakers.read([first])[first]
    assert refused.browser.spotless
    assert refused.models[shard.plan_step.sha256].failures == 1
    assert breakers.read([shard.browser])[shard.browser] == breakers.CLOSED


def test_where_native_onnxruntime_runs_out_of_memory_two_browsers_decide(tmp_path: Path) -> None:
    made: Any = (
        [nd("Expand", ["x", "s"], ["y"])],
        [vi("x", T.FLOAT, ["n"]), vi("s", T.INT64, [1])],
        [vi("y", T.FLOAT, ["m"])],
        {},
    )
    _, shard = step_of(tmp_path, "refused-large", made)
    told = judged_of(shard, REFUSED, x=floats(1), s=[2**33])
    assert (told.category, told.everywhere) == (Category.REFUSED, False)
    shard = elsewhere(shard, told)
    told = judged_of(shard, REFUSED, x=floats(1), s=[2**33])
    assert (told.category, told.everywhere) == (Category.INVALID_INPUT, True)


def of_its_own(weight: float) -> Any:
    """A model whose file no other test has."""
    nodes, ins, outs = [nd("Add", ["x", "w"], ["y"])], RESHAPE[1][:1], RESHAPE[2]
    return nodes, ins, outs, {"w": np.float32(weight)}


def test_a_file_that_native_onnxruntime_does_not_read_either_ends_at_once(tmp_path: Path) -> None:
    run, shard = step_of(tmp_path, "no-model", of_its_own(0.5))
    path_of(shard.plan_step.sha256).write_bytes(b"hello world" * 100)
    told = judged_of(shard, ModelIncompatible(WORDS), x=floats(6))
    assert (told.category, told.everywhere) == (Category.MODEL_INCOMPATIBLE, True)
    assert "onnxruntime refuses it" in told.message
    results.fail_run(
        shard, told.category, told.message, AttemptFacts(shard.browser, timezone.now())
    )
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, Category.MODEL_INCOMPATIBLE)
    assert run.shards.get().attempts == 1


def test_a_file_that_is_not_whole_says_nothing_of_the_model(tmp_path: Path) -> None:
    _, shard = step_of(tmp_path, "damaged", of_its_own(0.25))
    path_of(shard.plan_step.sha256).write_bytes(b"hello world" * 100)
    told = judged_of(shard, FileUnusable("it is damaged on disk"), x=floats(6))
    assert (told.category, told.everywhere) == (Category.INTERNAL, False)
