"""No backend computes a file before it answered it right: real ones that answer wrongly, refuse and break."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from browsers.core.answers.known import Known, KnownAnswer
from browsers.core.answers.proofs import ANY_SHAPES, Excluded, Verdict
from browsers.core.errors import BrowserError, InternalError, UnsupportedOperation
from browsers.models import BackendProof
from browsers.reports import BrowserFacts
from browsers.session.residents import ModelKey, Residents
from browsers.worker.proof_book import ProofBook
from tests.browser.bench import Bench, assert_close, reference, started, tensor

KIND = "chromium-npm"
RANDOM = np.random.default_rng(1)
F = T.FLOAT


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return (RANDOM.standard_normal(shape) / 2).astype(np.float32)


@dataclasses.dataclass
class Proved:
    """A browser that proves what it computes, its proofs, and what is known of files."""

    bench: Bench
    known: dict[str, Known]

    def proofs(self, sha256: str) -> list[BackendProof]:
        """As its worker has written them down."""
        return list(BackendProof.objects.filter(sha256=sha256))

    def verdicts(self, sha256: str) -> dict[tuple[str, str], Verdict]:
        return {(row.backend, row.shapes): Verdict(row.verdict) for row in self.proofs(sha256)}

    def knows(self, model: bytes, **more: Any) -> str:
        name = self.bench.put(model)
        self.known[name] = Known(**more)
        return name


@contextlib.contextmanager
def proving(folder: Path) -> Iterator[Proved]:
    """A browser with what its worker keeps of it."""
    known, benches = dict[str, Known](), list[Bench]()

    def facts() -> BrowserFacts:
        found = benches[0].session.facts
        assert found is not None
        return found

    proofs = (ProofBook(KIND, facts), known.__getitem__)
    with started(KIND, folder, memory_limit_mb=3500, proofs=proofs) as bench:
        benches.append(bench)
        yield Proved(bench, known)


@pytest.fixture(scope="module")
def proved(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proved]:
    with proving(tmp_path_factory.mktemp("proving")) as made:
        yield made
    BackendProof.objects.all().delete()


@pytest.fixture(scope="module")
def later(proved: Proved, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proved]:
    """Another worker's browser of the same build."""
    with proving(tmp_path_factory.mktemp("later")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left_to_try(proved: Proved) -> Iterator[None]:
    yield
    while proved.bench.session.idle.due:
        proved.bench.session.idle.do_next(60)


def model(
    nodes: list[Any], inputs: list[Any], output: Any, opset: int = 17, **weights: Any
) -> bytes:
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info(*port) for port in inputs],
        [h.make_tensor_value_info(*output)],
        [nh.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    opsets = [h.make_opsetid("", opset)]
    raw: bytes = h.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return raw


def gru() -> bytes:
    """A GRU as PyTorch exports it, with other weights each time."""
    return model(
        [h.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=5, linear_before_reset=1)],
        [("x", F, ["t", "n", 4])],
        ("y", F, ["t", 1, "n", 5]),
        14,
        w=numbers(1, 15, 4),
        r=numbers(1, 15, 5),
        b=numbers(1, 30),
    )


GRU = gru()
POOL = model(
    [h.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[2, 2, 2, 2])],
    [("x", F, [1, 3, 28, 28])],
    ("y", F, [1, 3, 30, 30]),
)
UNEVEN = model(
    [h.make_node("Split", ["x"], ["p", "q", "y"], num_outputs=3)], [("x", F, [7])], ("y", F, [1]), 18
)  # fmt: skip
DENSE = model(
    [h.make_node("MatMul", ["x", "w"], ["y"])],
    [("x", F, ["n", 4])],
    ("y", F, ["n", 4]),
    w=numbers(4, 4),
)


def known_answer(raw: bytes, *, off: float = 0.0, **inputs: Any) -> KnownAnswer:
    """What onnxruntime answers, or something else."""
    (y,) = reference(raw, **inputs)
    given = [tensor(name, array) for name, array in inputs.items()]
    return KnownAnswer(given, [tensor("y", y + np.float32(off))], {})


@pytest.mark.parametrize(
    ("raw", "x"), [(GRU, numbers(6, 2, 4)), (POOL, numbers(1, 3, 28, 28))], ids=["gru", "pool"]
)
def test_a_backend_that_answers_wrongly_is_found_out_while_idle_and_never_asked(
    proved: Proved, raw: bytes, x: np.ndarray[Any, Any]
) -> None:
    name = proved.knows(raw, answers=(known_answer(raw, x=x),))
    right = reference(raw, x=x)
    dims = {"t": 6, "n": 2} if raw is GRU else {}
    first = proved.bench.run(raw, None, prefer="webnn", x=x, dims=dims)
    assert (first.backend, first.unproved) == ("wasm", "")
    assert_close(first, right)
    assert proved.verdicts(name) == {("wasm", ANY_SHAPES): Verdict.RIGHT}
    assert proved.bench.session.idle.due
    proved.bench.session.idle.do_next(60)
    assert proved.verdicts(name)["webnn", ANY_SHAPES] is Verdict.WRONG
    again = proved.bench.run(raw, None, prefer="webnn", x=x, dims=dims)
    assert again.backend == "wasm"
    assert "wrong" in again.refused["webnn"]
    assert not proved.bench.session.idle.due
    with pytest.raises(Excluded, match="webnn does not compute this file: wrong"):
        proved.bench.run(raw, "webnn", x=x, dims=dims)


def test_a_named_backend_that_answers_wrongly_refuses_at_once(proved: Proved) -> None:
    x = numbers(3, 1, 4)
    raw = gru()
    name = proved.knows(raw, why_none="none was made")
    with pytest.raises(Excluded, match=r"answers this file wrongly: x:float32.*off by"):
        proved.bench.run(raw, "webnn", x=x, dims={"t": 3, "n": 1})
    assert proved.verdicts(name) == {("webnn", ANY_SHAPES): Verdict.WRONG}


def test_what_is_right_is_proved_for_its_shapes_and_used_from_then_on(proved: Proved) -> None:
    name = proved.knows(DENSE, answers=(known_answer(DENSE, x=numbers(2, 4)),))
    for rows in (3, 5):
        x = numbers(rows, 4)
        assert (
            proved.bench.run(DENSE, None, prefer="webnn", x=x, dims={"n": rows}).backend == "wasm"
        )
        proved.bench.session.idle.do_next(60)
        report = proved.bench.run(DENSE, None, prefer="webnn", x=x, dims={"n": rows})
        assert (report.backend, report.unproved) == ("webnn", "")
        assert_close(report, reference(DENSE, x=x))
        assert proved.verdicts(name)["webnn", f"x:float32[{rows}×4]"] is Verdict.RIGHT
    named = proved.bench.run(DENSE, "webgpu", x=numbers(3, 4), dims={"n": 3})
    assert (named.backend, named.unproved) == ("webgpu", "")


def test_inputs_that_are_not_finite_go_to_wasm(proved: Proved) -> None:
    x = np.array([[np.nan, np.inf, 0, 1]], np.float32)
    report = proved.bench.run(DENSE, None, prefer="webnn", x=x, dims={"n": 1})
    assert report.backend == "wasm"
    assert report.unproved.endswith(
        "input 'x' holds NaN, which wasm orders and sums up otherwise than natively in places"
    )
    assert_close(report, reference(DENSE, x=x))
    with pytest.raises(Excluded, match=r"holds NaN or infinity.*ask for platform wasm"):
        proved.bench.run(DENSE, "webgpu", x=x, dims={"n": 1})


def test_numbers_larger_than_those_that_were_tried_are_tried_anew(proved: Proved) -> None:
    """WebNN has no larger Softplus than 88.4, the last whose exponential is finite."""
    raw = model([h.make_node("Softplus", ["x"], ["y"])], [("x", F, [4])], ("y", F, [4]))
    x = np.array([0.5, -1, 2, 60], np.float32)
    name = proved.knows(raw, answers=(known_answer(raw, x=x),))
    usual = proved.bench.run(raw, "webnn", x=x)
    assert (usual.backend, usual.unproved) == ("webnn", "")
    assert_close(usual, reference(raw, x=x))
    large = np.array([0.5, -1, 2, 80], np.float32)  # it would be right, 90 would not
    with pytest.raises(Excluded, match=r"x:float32\[4\]≤256: its output 'y' is off by 168"):
        proved.bench.run(raw, "webnn", x=large)
    report = proved.bench.run(raw, None, prefer="webnn", x=large)
    assert report.backend == "wasm"
    assert_close(report, reference(raw, x=large))
    assert proved.verdicts(name)["webnn", "x:float32[4]≤256"] is Verdict.WRONG
    again = proved.bench.run(raw, "webnn", x=x)
    assert again.backend == "webnn", "what it computes right is still computed there"


def test_a_backend_that_was_wrong_is_not_tried_again_after_browser_or_worker_are_others(
    proved: Proved, later: Proved
) -> None:
    raw, x, dims = gru(), numbers(4, 2, 4), {"t": 4, "n": 2}
    name, right = proved.knows(raw, why_none="none was made"), reference(raw, x=x)
    with pytest.raises(Excluded, match="answers this file wrongly"):
        proved.bench.run(raw, "webnn", x=x, dims=dims)
    found = proved.proofs(name)
    assert [(row.backend, row.verdict) for row in found] == [("webnn", Verdict.WRONG)]
    proved.bench.session.restart(120)
    later.knows(raw, why_none="none was made")
    for browser in (proved, later):
        for _ in range(2):
            with pytest.raises(Excluded, match=r"webnn does not compute this file: wrong .*off by"):
                browser.bench.run(raw, "webnn", x=x, dims=dims)
        report = browser.bench.run(raw, None, prefer="webnn", x=x, dims=dims)
        assert report.backend == "wasm"
        assert_close(report, right)
        assert not browser.bench.session.idle.due
        assert browser.bench.told() == []
    assert [(row.pk, row.at) for row in proved.proofs(name)] == [(row.pk, row.at) for row in found]


def test_a_backend_that_traps_or_kills_its_page_is_remembered(later: Proved) -> None:
    """WebNN stops at this Split: its engine as a rule, now and then its page, which may be chance once.

    What is loaded stays where it is as long as the page does.
    """
    bench, x, rows = later.bench, np.ones(7, np.float32), numbers(2, 4)
    name = later.knows(UNEVEN, answers=(known_answer(UNEVEN, x=x),))
    later.knows(DENSE, answers=(known_answer(DENSE, x=rows),))
    for _ in range(3):
        bench.run(DENSE, "wasm", x=rows)
        try:
            bench.run(UNEVEN, "webnn", x=x)
        except Excluded:
            assert bench.run(DENSE, "wasm", x=rows).warm, "the loaded model was lost"
            assert bench.told() == []
            break
        except BrowserError as error:
            assert error.category.distrusted, error
            bench.session.restart(120)
            bench.told()
    assert later.verdicts(name)["webnn", ANY_SHAPES] in (Verdict.BROKE, Verdict.REFUSED)
    report = bench.run(UNEVEN, None, prefer="webnn", x=x)
    assert report.backend == "wasm"
    assert_close(report, reference(UNEVEN, x=x))
    assert not bench.session.idle.due


def test_wasm_that_does_not_give_the_known_answer_computes_nothing(proved: Proved) -> None:
    raw = model([h.make_node("Neg", ["x"], ["y"])], [("x", F, [2])], ("y", F, [2]))
    x = np.ones(2, np.float32)
    name = proved.knows(raw, answers=(known_answer(raw, off=0.5, x=x),))
    with pytest.raises(
        UnsupportedOperation, match="wasm answers this file wrongly: known answer 1"
    ):
        proved.bench.run(raw, None, prefer="webnn", x=x)
    assert proved.verdicts(name)["wasm", ANY_SHAPES] is Verdict.WRONG


@pytest.mark.parametrize(("times", "verdict"), [(1, Verdict.RIGHT), (9, Verdict.BROKE)])
def test_what_stops_wasm_is_asked_again_once(
    proved: Proved, monkeypatch: pytest.MonkeyPatch, times: int, verdict: Verdict
) -> None:
    """WebKit's WebAssembly fell over a null entry of a table once, in one of many runs of these tests."""
    raw = model([h.make_node("Abs", ["x"], ["y"])], [("x", F, [2 + times])], ("y", F, [2 + times]))
    x = -np.ones(2 + times, np.float32)
    name = proved.knows(raw, answers=(known_answer(raw, x=x),))
    compute, stopped = Residents.run, [0]

    def stopping(self: Residents, key: ModelKey, *args: Any, **more: Any) -> Any:
        if key.sha256 == name and stopped[0] < times:
            stopped[0] += 1
            raise InternalError("call_indirect to a null table entry")
        return compute(self, key, *args, **more)

    monkeypatch.setattr(Residents, "run", stopping)
    if verdict is Verdict.RIGHT:
        assert_close(proved.bench.run(raw, "wasm", x=x), reference(raw, x=x))
    else:
        with pytest.raises(UnsupportedOperation, match="call_indirect"):
            proved.bench.run(raw, "wasm", x=x)
    assert stopped[0] == min(times, 2)
    assert proved.verdicts(name)["wasm", ANY_SHAPES] is verdict


def test_a_file_that_is_damaged_on_disk_is_said_to_be(proved: Proved) -> None:
    raw = model([h.make_node("Neg", ["x"], ["y"])], [("x", F, [3])], ("y", F, [3]))
    other = model([h.make_node("Abs", ["x"], ["y"])], [("x", F, [3])], ("y", F, [3]))
    x = np.ones(3, np.float32)
    name = proved.knows(raw, answers=(known_answer(raw, x=x),))
    (proved.bench.folder / name).write_bytes(other)
    with pytest.raises(BrowserError, match="damaged on disk"):
        proved.bench.session.run(
            model_sha256=name, inputs=[tensor("x", x)], backend=None, deadline_s=60
        )
    assert not proved.proofs(name)


def test_a_file_that_is_deleted_before_its_trial_is_no_fault_of_the_browser(proved: Proved) -> None:
    raw = model([h.make_node("Neg", ["x"], ["y"])], [("x", F, [4])], ("y", F, [4]))
    x = np.ones(4, np.float32)
    name = proved.knows(raw, answers=(known_answer(raw, x=x),))
    proved.bench.run(raw, None, prefer="webnn", x=x)
    assert proved.bench.session.idle.due
    proved.bench.session.unload(name)
    (proved.bench.folder / name).unlink()
    proved.bench.session.idle.do_next(60)
    assert proved.verdicts(name) == {("wasm", ANY_SHAPES): Verdict.RIGHT}


def test_what_draws_random_numbers_is_computed_and_said_to_be_unproved(proved: Proved) -> None:
    raw = model([h.make_node("RandomNormalLike", ["x"], ["y"])], [("x", F, [8])], ("y", F, [8]))
    name = proved.knows(raw, random=True, why_none="it draws random numbers (RandomNormalLike)")
    x = np.ones(8, np.float32)
    report = proved.bench.run(raw, None, prefer="webnn", x=x)
    assert (report.backend, report.unproved) == (
        "wasm",
        "no known answer: it draws random numbers (RandomNormalLike)",
    )
    assert not proved.bench.session.idle.due
    assert not proved.proofs(name)


def test_a_session_that_webnn_could_not_make_leaves_nothing_to_the_next(proved: Proved) -> None:
    """What draws random numbers is not tried apart: WebNN takes its Relu and has nobody for its Add."""
    ports = [("x", F, [8]), ("b", T.INT16, [2])]
    nodes = [
        h.make_node("Relu", ["x"], ["r"]),
        h.make_node("Add", ["b", "b"], ["s"]),
        h.make_node("Cast", ["s"], ["f"], to=F),
        h.make_node("ReduceSum", ["f"], ["g"], keepdims=0),
        h.make_node("RandomNormalLike", ["r"], ["n"]),
        h.make_node("Add", ["n", "g"], ["y"]),
    ]
    raw, x = model(nodes, ports, ("y", F, [8])), np.ones(8, np.float32)
    proved.knows(raw, random=True, why_none="it draws random numbers (RandomNormalLike)")
    with pytest.raises(UnsupportedOperation, match="Can't create a session"):
        proved.bench.run(raw, "webnn", x=x, b=np.ones(2, np.int16))
    fresh = model([h.make_node("Neg", ["x"], ["y"])], [("x", F, [8])], ("y", F, [8]))
    proved.knows(fresh, answers=(known_answer(fresh, x=x),))
    assert_close(proved.bench.run(fresh, "wasm", x=x), reference(fresh, x=x))
    assert proved.bench.told() == []


def test_a_listed_form_is_never_tried(proved: Proved) -> None:
    I = T.INT32  # noqa: E741
    raw = model(
        [h.make_node("Div", ["a", "b"], ["y"])], [("a", I, [2]), ("b", I, [2])], ("y", I, [2])
    )
    a, b = np.array([8, 9], np.int32), np.array([2, 3], np.int32)
    proved.knows(raw, forms=frozenset({"integer_division"}), why_none="none was made")
    report = proved.bench.run(raw, None, prefer="webnn", a=a, b=b)
    assert report.backend == "wasm"
    assert "divisor of zero" in report.refused["webnn"]
    assert not proved.bench.session.idle.due
    with pytest.raises(Excluded, match="divisor of zero"):
        proved.bench.run(raw, "webnn", a=a, b=b)


def test_a_file_without_a_known_answer_says_so_every_time(proved: Proved) -> None:
    raw = model(
        [h.make_node("MatMul", ["x", "w"], ["y"])], [("x", F, [2, 4])], ("y", F, [2, 4]),
        w=numbers(4, 4),
    )  # fmt: skip
    name = proved.knows(raw, why_none="it is too large to be run here")
    x = numbers(2, 4)
    for _ in range(2):  # tried against wasm the first time, remembered the second
        report = proved.bench.run(raw, "webgpu", x=x)
        assert_close(report, reference(raw, x=x))
        assert report.unproved == "no known answer: it is too large to be run here"
    assert proved.verdicts(name) == {("webgpu", "x:float32[2×4]"): Verdict.RIGHT}
