"""Models that the browsers' runtime cannot load: lowered where that changes nothing, else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from onnxruntime import InferenceSession

from inference.catalog import reading
from inference.catalog.loadable import loads
from inference.graph.rewriting.declaring import correct_sizes
from inference.graph.rewriting.lowering import lower
from inference.graph.runtime import session

vi, nd = h.make_tensor_value_info, h.make_node


def product(**more: Any) -> onnx.ModelProto:
    weights = [nh.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")]
    ports = [vi("x", T.FLOAT, ["n", 4])], [vi("y", T.FLOAT, ["n", 4])]
    return h.make_model(
        h.make_graph([nd("MatMul", ["x", "w"], ["y"])], "g", *ports, weights), **more
    )


def at(opset: int) -> dict[str, Any]:
    return {"opset_imports": [h.make_opsetid("", opset)]}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("more", [{}, at(17), {"ir_version": 10}])
def test_what_onnx_makes_by_default_is_lowered_and_computes_the_same(
    tmp_path: Path, out: Path, more: dict[str, Any]
) -> None:
    made = product(**more)
    onnx.save(made, tmp_path / "m.onnx")
    assert loads(tmp_path / "m.onnx").refused
    read = reading.read(tmp_path / "m.onnx", out)
    assert read.summary["runtime"]["lowered"]
    assert not loads(read.path).refused
    x = np.ones((2, 4), np.float32)
    before, after = (
        session(str(path)).run(None, {"x": x}) for path in (tmp_path / "m.onnx", read.path)
    )
    assert before[0].tolist() == after[0].tolist()


@pytest.mark.parametrize(
    ("declared", "between", "said"),
    [
        ([1, 4], None, "output y [1, 4] → [3, 4]"),
        ([4], None, "output y [4] → [3, 4]"),
        (["n", 5], [3, 4], "output y ['n', 5] → [3, 4]"),
        ([3, 4], [1, 4], "sizes of h"),
        ([1, 4], [3, 7], "output y [1, 4] → [3, 4], sizes of h"),
    ],
)
def test_sizes_that_are_declared_wrongly_are_put_right(
    tmp_path: Path, out: Path, declared: list[Any], between: list[int] | None, said: str
) -> None:
    """onnxruntime warns of them and computes; the runtime of WebKit's bundle refuses the file."""
    graph = h.make_graph(
        [nd("MatMul", ["x", "w"], ["h"]), nd("Relu", ["h"], ["y"])],
        "g",
        [vi("x", T.FLOAT, [3, 4])],
        [vi("y", T.FLOAT, declared)],
        [nh.from_array(np.arange(16, dtype=np.float32).reshape(4, 4) - 8, "w")],
        value_info=[vi("h", T.FLOAT, between)] if between else [],
    )
    onnx.save(h.make_model(graph, **at(17), ir_version=8), tmp_path / "m.onnx")
    assert "ShapeInferenceError" in loads(tmp_path / "m.onnx").refused
    read = reading.read(tmp_path / "m.onnx", out)
    assert read.summary["runtime"] == {"lowered": said, "unknown": ""}
    assert [port["shape"] for port in read.summary["outputs"]] == [[3, 4]]
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    before, after = (
        session(str(path)).run(None, {"x": x}) for path in (tmp_path / "m.onnx", read.path)
    )
    assert before[0].tobytes() == after[0].tobytes()


def test_sizes_that_may_be_are_left_as_they_are() -> None:
    declarations: list[list[int | str] | None] = [[3, 4], ["n", 4], ["a", "b"], None]
    for declared in declarations:
        made = product(**at(17))
        made.graph.output[0].CopyFrom(vi("y", T.FLOAT, declared))
        before = made.SerializeToString()
        assert correct_sizes(made) == []
        assert made.SerializeToString() == before


def test_what_the_runtime_loads_stays_as_it_is(tmp_path: Path, out: Path) -> None:
    onnx.save(product(**at(17), ir_version=8), tmp_path / "m.onnx")
    summary = reading.read(tmp_path / "m.onnx", out).summary
    assert summary["runtime"] == {"lowered": "", "unknown": ""}
    assert summary["opsets"] == {"ai.onnx": 17}


def test_what_it_never_loads_is_refused_in_its_words(tmp_path: Path, out: Path) -> None:
    mod = nd("Mod", ["x", "x"], ["y"])  # of floats it is another operator since opset 28
    graph = h.make_graph([mod], "g", [vi("x", T.FLOAT, ["n"])], [vi("y", T.FLOAT, ["n"])])
    onnx.save(h.make_model(graph, **at(28), ir_version=14), tmp_path / "m.onnx")
    with pytest.raises(
        ValueError, match=r"onnxruntime-web, which browsers run, refuses it.*Opset 28"
    ):
        reading.read(tmp_path / "m.onnx", out)


def test_without_node_it_is_said_that_nobody_was_asked(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(product(**at(17), ir_version=8), tmp_path / "m.onnx")
    monkeypatch.setenv("PATH", str(tmp_path))
    summary = reading.read(tmp_path / "m.onnx", out).summary
    assert summary["runtime"]["unknown"] in ("there is no node here", "")


def test_an_operator_that_changed_keeps_its_opset() -> None:
    ports = [vi("x", T.FLOAT, ["n"])], [vi("y", T.FLOAT, ["n"])]
    body = h.make_graph([nd("Mod", ["x", "x"], ["t"])], "b", [], [vi("t", T.FLOAT, ["n"])])
    yes = nd("Constant", [], ["c"], value=h.make_tensor("c", T.BOOL, [], [True]))
    choice = nd("If", ["c"], ["y"], then_branch=body, else_branch=body)
    made = h.make_model(h.make_graph([yes, choice], "g", *ports), **at(28), ir_version=14)
    assert lower(made) == "IR version 14 → 10"
    assert made.opset_import[0].version == 28


@pytest.mark.parametrize(
    ("operator", "attributes", "y"),
    [("Celu", {"alpha": 2.0}, [-1.2642411, 2.0]), ("Einsum", {"equation": "i->i"}, [-2.0, 2.0])],
)
def test_an_operator_that_only_takes_more_types_is_lowered(
    tmp_path: Path, out: Path, operator: str, attributes: dict[str, Any], y: list[float]
) -> None:
    ports = [vi("x", T.FLOAT, ["n"])], [vi("y", T.FLOAT, ["n"])]
    graph = h.make_graph([nd(operator, ["x"], ["y"], **attributes)], "g", *ports)
    onnx.save(h.make_model(graph, **at(28), ir_version=14), tmp_path / "m.onnx")
    read = reading.read(tmp_path / "m.onnx", out)
    assert read.summary["runtime"]["lowered"] == "opset 28 → 26, IR version 14 → 10"
    assert not loads(read.path).refused
    (given,) = session(str(read.path)).run(None, {"x": np.array([-2, 2], np.float32)})
    assert given.tolist() == pytest.approx(y, abs=1e-6)


@pytest.mark.parametrize(
    ("operator", "attributes", "kind", "x", "y", "lowered"),
    [
        ("Mod", {}, T.INT32, [-7, 7], [2, -2], True),
        ("Mod", {"fmod": 1}, T.FLOAT, [-7, 7.5], [2, -2], True),
        ("Mod", {}, T.FLOAT, [-7, 7.5], [2, -2], False),
        ("BitShift", {"direction": "LEFT"}, T.UINT8, [200, 255], [1, 33], True),
        ("BitShift", {"direction": "RIGHT"}, T.UINT64, [200, 255], [1, 64], True),
        ("BitShift", {"direction": "RIGHT"}, T.INT32, [-7, 7], [1, 33], False),
    ],
)
def test_an_operator_of_types_that_it_always_took_is_what_it_was(
    operator: str, attributes: dict[str, Any], kind: int, x: list[Any], y: list[Any], lowered: bool
) -> None:
    ports = [vi(name, kind, ["n"]) for name in "ab"], [vi("y", kind, ["n"])]
    graph = h.make_graph([nd(operator, ["a", "b"], ["y"], **attributes)], "g", *ports)
    new = h.make_model(graph, **at(28), ir_version=10)
    old = onnx.ModelProto.FromString(new.SerializeToString())
    assert bool(lower(old)) is lowered
    dtype = h.tensor_dtype_to_np_dtype(kind)
    given = {"a": np.array(x, dtype), "b": np.array(y, dtype)}
    (wanted,) = InferenceSession(new.SerializeToString()).run(None, given)
    (made,) = InferenceSession(old.SerializeToString()).run(None, given)
    assert made.tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", [T.BFLOAT16, T.INT4, T.UINT4])
def test_ports_of_types_that_cannot_travel_are_refused(
    tmp_path: Path, out: Path, kind: int
) -> None:
    graph = h.make_graph(
        [nd("Cast", ["x"], ["y"], to=kind)], "g", [vi("x", T.FLOAT, ["n"])], [vi("y", kind, ["n"])]
    )
    onnx.save(h.make_model(graph, **at(21), ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"no form on the way to a browser|onnxruntime refuses"):
        reading.read(tmp_path / "m.onnx", out)
