"""Which backend may compute a file, what it is tried with, and which values it is never asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from browsers.core.answers.bad_forms import (
    BAD_FORMS,
    BadForm,
    bad_form,
    bad_values,
    unlike_natively,
)
from browsers.core.answers.proofs import (
    ANY_SHAPES,
    Proof,
    Standing,
    Verdict,
    ever_right,
    scope_of,
    shapes_of,
    standing,
)
from browsers.core.answers.variants import variants
from browsers.core.protocol import WireTensor, pack_strings
from inference.graph import forms

ONE, TWO = "x:float32[1]", "x:float32[2]"


def proof(verdict: Verdict, shapes: str = ONE, backend: str = "webnn") -> Proof:
    return Proof("f" * 64, backend, shapes, verdict, "because")


def wire(name: str, values: Any, dtype: str) -> WireTensor:
    array = np.array(values, dtype)
    return WireTensor(name, dtype, array.shape, array.tobytes())


@pytest.mark.parametrize(
    ("proofs", "expected"),
    [
        ([], Standing.OPEN),
        ([proof(Verdict.RIGHT)], Standing.PROVED),
        ([proof(Verdict.RIGHT, TWO)], Standing.OPEN),
        ([proof(Verdict.RIGHT, ANY_SHAPES)], Standing.PROVED),
        ([proof(Verdict.RIGHT, backend="webgpu")], Standing.OPEN),
        ([proof(Verdict.RIGHT), proof(Verdict.WRONG, ANY_SHAPES)], Standing.EXCLUDED),
        ([proof(Verdict.RIGHT), proof(Verdict.WRONG, ONE + ">1e9")], Standing.PROVED),
        ([proof(Verdict.RIGHT, TWO), proof(Verdict.WRONG, ONE)], Standing.EXCLUDED),
        ([proof(Verdict.REFUSED)], Standing.EXCLUDED),
        ([proof(Verdict.BROKE)], Standing.EXCLUDED),
    ],
)
def test_a_backend_stands_by_what_it_answered(proofs: list[Proof], expected: Standing) -> None:
    stands, why = standing(proofs, "webnn", ONE)
    assert stands is expected
    assert bool(why) == (expected is Standing.EXCLUDED)


def test_a_backend_that_was_wrong_once_was_not_ever_right() -> None:
    assert ever_right([proof(Verdict.RIGHT)], "webnn")
    assert not ever_right([proof(Verdict.RIGHT), proof(Verdict.WRONG, ANY_SHAPES)], "webnn")
    assert ever_right([proof(Verdict.RIGHT), proof(Verdict.WRONG, ONE + ">1e9")], "webnn")
    assert not ever_right([proof(Verdict.WRONG, ONE + ">1e9")], "webnn")
    assert not ever_right([], "webnn")


def test_shapes_are_named_alike_whatever_the_order() -> None:
    a, b = wire("a", [[1, 2]], "int64"), wire("b", 1, "float32")
    assert shapes_of([a, b]) == shapes_of([b, a]) == "a:int64[1×2] b:float32[]"
    many = [wire(f"input_{n}", [1], "int8") for n in range(40)]
    assert len(shapes_of(many)) == 64
    assert shapes_of(many) != shapes_of(many[:-1])


@pytest.mark.parametrize(
    ("values", "dtype", "said", "unusual"),
    [
        ([0.0, -2.0], "float32", "", False),
        ([0.0, -2.5], "float32", "≤8", False),
        ([64.0], "float16", "≤64", False),
        ([0.0, -65.0], "float32", "≤256", True),
        ([255.0, 1e-40], "float32", "≤256~0", True),
        ([-1e-40], "float32", "~0", True),
        ([1e-40], "float64", "", False),
        ([1e-6], "float16", "", False),
        ([1e9], "float32", "≤1e+09", True),
        ([-3.4e38], "float32", ">1e+09", True),
        ([], "float32", "", False),
        (list(range(70, 80)), "int64", "", False),
    ],
)
def test_a_proof_holds_for_numbers_as_large_and_as_near_zero(
    values: list[float], dtype: str, said: str, unusual: bool
) -> None:
    x = wire("x", values, dtype)
    assert shapes_of([x]) == f"x:{dtype}[{len(values)}]{said}"
    assert scope_of([x]) == (shapes_of([x]) if unusual else ANY_SHAPES)


def test_a_backend_is_tried_with_the_largest_numbers_that_its_proof_is_to_hold_for() -> None:
    given = [wire("x", [[0.1, 70.0], [0.2, 0.3]], "float32"), wire("one", [3.0], "float16")]
    *_, reaching = variants(given)
    assert [(t.shape, t.dtype) for t in reaching] == [(t.shape, t.dtype) for t in given]
    large, one = (np.frombuffer(t.data, t.dtype) for t in reaching)
    assert (large.max(), large.min(), list(one)) == (256.0, -256.0, [8.0])
    assert np.count_nonzero(np.abs(large) <= 2) == 2
    assert len(list(variants([wire("x", [0.1, 0.2, 1.9], "float32")]))) == 3, "those are small"
    *_, beyond = variants([wire("x", [3e38, 1.0], "float32")])
    assert np.abs(np.frombuffer(beyond[0].data, np.float32)).max() == np.float32(3e38)


def test_small_integers_may_be_sizes_and_count_as_shapes() -> None:
    x = wire("x", [1.0], "float32")
    assert shapes_of([x, wire("k", 3, "int64")]) == "k:int64[]=3 x:float32[1]"
    assert shapes_of([wire("k", [3], "int64")]) != shapes_of([wire("k", [4], "int64")])
    assert shapes_of([wire("ids", [[3]], "int64")]) == shapes_of([wire("ids", [[4]], "int64")])
    long = [wire("ids", list(range(start, start + 9)), "int64") for start in (0, 1)]
    assert shapes_of(long[:1]) == shapes_of(long[1:])


def test_variants_keep_types_shapes_and_the_range_of_integers() -> None:
    given = [
        wire("ids", [[5, 900, 3, 7]], "int64"),
        wire("x", [[0.5, -1.25, 3.0]], "float32"),
        wire("on", [True, True], "bool"),
        WireTensor("s", "string", (1,), pack_strings(["text"])),
    ]
    made = list(variants(given))
    assert len(made) == 4
    assert made[1] == given
    for case in made:
        assert [(t.name, t.dtype, t.shape) for t in case] == [
            (t.name, t.dtype, t.shape) for t in given
        ]
        assert set(np.frombuffer(case[0].data, np.int64)) == {5, 900, 3, 7}
        assert bytes(case[3].data) == bytes(given[3].data)
    halves = np.frombuffer(made[0][1].data, np.float32)
    assert np.array_equal(2 * halves, np.rint(2 * halves))
    assert not np.frombuffer(made[0][2].data, bool).any()
    assert [list(case) for case in variants(given)] == made  # the same every time


def test_inputs_that_have_no_variants_are_tried_once() -> None:
    assert len(list(variants([wire("k", [3], "int64")]))) == 1
    assert len(list(variants([wire("axes", [], "int64")]))) == 1  # as axes that were left empty


def test_every_form_that_is_found_is_one_that_is_listed() -> None:
    assert set(BAD_FORMS) == forms.ALL


def test_a_form_counts_for_its_backends_and_builds() -> None:
    one = BadForm(frozenset({"webnn"}), "ties", right_since={"chrome": 160})
    assert one.hits("webnn", "chrome", "159.0.1")
    assert not one.hits("webnn", "chrome", "160.0.1")
    assert one.hits("webnn", "edge", "160.0.1")
    assert not one.hits("wasm", "chrome", "159.0.1")
    assert bad_form(["integer_division"], "webnn", "chromium-npm", "153.0")
    assert not bad_form(["integer_division"], "wasm", "chromium-npm", "153.0")
    assert not bad_form([], "webnn", "chromium-npm", "153.0")


@pytest.mark.parametrize(
    ("tensor", "bad"),
    [
        (wire("x", [1.0, 2.0], "float32"), False),
        (wire("x", [1.0, np.nan], "float32"), True),
        (wire("x", [np.inf], "float16"), True),
        (wire("ids", [0, 9], "int64"), False),
        (wire("ids", [10], "int64"), True),
        (wire("ids", [-1], "int64"), True),
        (wire("ids", [], "int64"), False),
        (wire("other", [10], "int64"), False),
        (wire("other", [2**31 - 1, -(2**31) + 1], "int64"), False),
        (wire("other", [2**31], "int64"), True),
        (wire("other", [-(2**63)], "int64"), True),
        (WireTensor("ids", "string", (1,), pack_strings(["5"])), True),
    ],
)
def test_values_that_other_backends_get_wrong(tensor: WireTensor, bad: bool) -> None:
    assert bool(bad_values([tensor], {"ids": 10})) is bad


def test_nan_is_said_of_wasm_and_nothing_else() -> None:
    whole, half = wire("x", [1.0, np.nan], "float32"), wire("h", [np.nan], "float16")
    for tensor in (whole, half):
        assert unlike_natively([wire("a", [1, 2], "int64"), tensor]).startswith(
            f"input {tensor.name!r} holds NaN"
        )
    assert (
        unlike_natively([wire("x", [np.inf, -np.inf], "float32"), wire("e", [], "float32")]) == ""
    )
    assert unlike_natively([WireTensor("s", "string", (1,), pack_strings(["nan"]))]) == ""
