"""What a caller sent becomes exactly that in the port's type, or is refused; nothing else ever happens."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from browsers.core.protocol import DTYPES
from inference.batches.items import ItemReader
from inference.conversion import rows
from inference.conversion.exact import array_of
from inference.errors import InvalidRequest
from inference.graph.batching.batch_axis import BatchAxis, Verdict
from inference.models import OnnxModel
from inference.runs.inputs import from_python
from inference.wire.oip.datatypes import NAMES
from inference.wire.oip.tensors import decode_json_tensor

INTEGERS = [dtype for dtype in DTYPES if "int" in dtype]
FLOATS = [dtype for dtype in DTYPES if "float" in dtype]
BEYOND_ALL = 10**5000
EDGES = [n + d for e in (7, 8, 11, 24, 31, 53, 63, 64) for n in (2**e, -(2**e)) for d in (-1, 0, 1)]


def refusal(value: Any, dtype: str, *, json: bool = False) -> str:
    with pytest.raises(InvalidRequest) as caught:
        array_of("x", value, dtype, json=json)
    return str(caught.value)


# --- any Python value ----------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-300, 300),
    st.integers(),
    st.sampled_from(EDGES),
    st.sampled_from([1, -1]).map(lambda sign: sign * BEYOND_ALL),  # too long to be written out
    st.floats(),
    st.sampled_from([1e39, 70000.0, 65519.9, -3.5e38, 0.1, 1e-400]),
    st.text(max_size=4),
    st.sampled_from(["a\0b", "\ud800", "1", ""]),
    st.binary(max_size=3),
    st.just({"a": 1}),
    st.sampled_from([np.int64(3), np.float32(0.1), np.bool_(True), np.str_("a"), np.datetime64(1, "ns")]),
)  # fmt: skip
lists = st.recursive(
    scalars, lambda items: st.lists(items, max_size=4) | st.lists(items, max_size=3).map(tuple)
)
# Regular lists of one kind, which are more often taken than refused.
regular = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3).flatmap(
    lambda shape: st.sampled_from(
        [st.integers(0, 1), st.integers(-200, 70000), st.sampled_from(EDGES), st.floats(), st.text()]
    ).flatmap(lambda items: hnp.arrays(object, shape, elements=items).map(np.ndarray.tolist))
)  # fmt: skip


@given(lists | regular, st.sampled_from(DTYPES), st.booleans())
def test_every_value_is_kept_exactly_or_refused(value: Any, dtype: str, json: bool) -> None:
    try:
        array = array_of("x", value, dtype, json=json)
    except InvalidRequest as error:
        assert "input 'x': " in str(error)
        return
    sent = np.empty(array.shape, dtype=object)
    sent[...] = np.array(value, dtype=object).reshape(array.shape)
    for made, item in zip(array.ravel().tolist(), sent.ravel().tolist(), strict=True):
        assert_same(made, item, dtype, json=json)


def assert_same(made: Any, sent: Any, dtype: str, *, json: bool) -> None:
    sent = sent.item() if isinstance(sent, np.generic) else sent
    if dtype == "string":
        assert made == (sent.decode() if isinstance(sent, bytes) else sent)
    elif dtype == "bool":
        assert made is bool(sent)
        assert type(sent) in (bool, int)
    elif dtype in INTEGERS:
        assert (type(made), type(sent), made) == (int, int, sent)
    elif type(sent) is int:
        assert made == sent or (json and np.dtype(dtype).type(float(sent)) == made)
    elif math.isnan(sent):
        assert math.isnan(made)
        assert not json
    else:
        assert type(sent) is float
        assert made == float(np.float64(sent).astype(dtype))
        assert math.isfinite(made) == math.isfinite(sent)


@given(st.lists(scalars, min_size=1, max_size=6), st.sampled_from(DTYPES))
def test_a_refusal_names_the_first_element_that_is_refused_alone(
    values: list[Any], dtype: str
) -> None:
    def fits(value: Any) -> bool:
        try:
            array_of("x", [value], dtype)
        except InvalidRequest:
            return False
        return True

    wrong = [index for index, value in enumerate(values) if not fits(value)]
    if wrong:
        assert f"at [{wrong[0]}]" in refusal(values, dtype)
    else:
        assert array_of("x", values, dtype).shape == (len(values),)


# --- arrays --------------------------------------------------------------------------------

numeric = st.sampled_from([dtype for dtype in DTYPES if dtype != "string"])


@given(numeric.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_side=0))), numeric)
def test_an_array_becomes_what_its_elements_become(array: Any, dtype: str) -> None:
    try:
        listed = array_of("x", array.ravel().tolist(), dtype)
    except InvalidRequest:
        refusal(array, dtype)
        return
    made = array_of("x", array, dtype)
    assert (made.dtype, made.shape) == (np.dtype(dtype), array.shape)
    np.testing.assert_array_equal(made.ravel(), listed)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_array_of_the_other_byte_order_keeps_its_values(order: str) -> None:
    array = np.array([1, -2], f"{order}i4")
    assert array_of("x", array, "int32").tolist() == [1, -2]
    assert array_of("x", array, "float64").tolist() == [1.0, -2.0]


def test_arrays_that_have_no_value_in_each_place_are_refused() -> None:
    assert "masked" in refusal(np.ma.masked_array([1, 2], [False, True]), "int8")
    assert "datetime64[ns]" in refusal(np.array(["2020"], "M8[ns]"), "int64")
    assert "complex128" in refusal(np.array([1j]), "float32")


def test_an_array_of_another_library_is_taken_and_one_that_cannot_be_read_is_refused() -> None:
    class Tensor:
        def __init__(self, values: Any) -> None:
            self._values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            if self._values is None:
                raise RuntimeError("it is on another device")
            return np.array(self._values)

    assert array_of("x", Tensor([1, 2]), "float32").tolist() == [1.0, 2.0]
    assert array_of("x", [Tensor([1, 2]), Tensor([3, 4])], "int8").tolist() == [[1, 2], [3, 4]]
    assert "got 300 at [0]" in refusal(Tensor([300]), "int8")
    assert "it is on another device" in refusal(Tensor(None), "int8")


# --- the rules, one by one -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "says"),
    [
        ([[1, 2], [3, 300]], "int8", "int8: whole numbers from -128 to 127; got 300 at [1, 1]"),
        ([-1], "uint8", "whole numbers from 0 to 255; got -1 at [0]"),
        (2**63, "int64", "to 9223372036854775807; got 9223372036854775808"),
        ([2.0], "int64", "got 2.0 at [0] (a float, not an integer)"),
        ([0, True], "int64", "got true at [1]"),
        (["1"], "int64", "got '1' at [0]"),
        ([1.5, True], "float32", "got true at [1]"),
        ([1e39], "float32", "of at most 3.403e+38 in size; got 1e+39 at [0]"),
        ([70000], "float16", "of at most 6.55e+04 in size; got 70000 at [0]"),
        ([2**24 + 1], "float32", "the nearest it holds is 16777216"),
        ([2**53 + 1], "float64", "the nearest it holds is 9007199254740992"),
        ([0.1, BEYOND_ALL], "float64", "got a whole number of 16610 bits at [1]"),
        ([1, 2], "bool", "bool: true and false, or 1 and 0; got 2 at [1]"),
        ([1.0], "bool", "got 1.0"),
        ([None], "float32", "got null at [0]"),
        ({"a": 1}, "float32", "got an object"),
        ([5], "string", "got 5 at [0]"),
        (["ab", "a\0b"], "string", "got 'a\\x00b' at [1] (the browser's runtime takes C strings"),
        (["\ud800"], "string", "no form in UTF-8"),
        ([b"\xff"], "string", "no form in UTF-8"),
        ([1, [2]], "int8", "ragged: a single value at [0], but a list of 1 at [1]"),
        ([[[1]], [[1, 2]]], "int8", "ragged: a list of 1 at [0, 0], but a list of 2 at [1, 0]"),
        ([1], "bfloat16", "tensors of type bfloat16 cannot be sent"),
    ],
)
def test_a_refusal_says_what_was_expected_what_came_and_where(
    value: Any, dtype: str, says: str
) -> None:
    assert says in refusal(value, dtype)


def test_lists_nested_too_deeply_are_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert "nested at most 32 deep" in refusal(value, "int8")


def test_nan_and_infinity_pass_from_everywhere_but_json() -> None:
    for value in (math.nan, math.inf, -math.inf):
        np.testing.assert_array_equal(array_of("x", [value], "float16"), [value])
        assert "JSON has neither NaN nor infinity" in refusal([value], "float16", json=True)


@pytest.mark.parametrize(
    ("digits", "dtype", "holds"),
    [
        (590295810358705700000, "float64", 2.0**69),  # as JavaScript and Go write 2**69
        (590295810358705700000, "float32", 2.0**69),
        (123456790, "float32", 123456792.0),  # as Go writes that float32
        (10**22, "float64", 1e22),
    ],
)
def test_in_json_a_whole_number_may_be_a_floats_digits(
    digits: int, dtype: str, holds: float
) -> None:
    assert array_of("x", [digits], dtype, json=True).tolist() == [holds]
    if int(holds) != digits:
        assert "does not hold" in refusal([digits], dtype)
    for off in (digits - 1, digits + 1):
        assert "does not hold" in refusal([off], dtype, json=True)


@given(st.sampled_from(FLOATS).flatmap(lambda kind: st.tuples(
    st.just(kind), st.floats(width=int(kind[5:]), allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
)))  # fmt: skip
def test_every_whole_float_passes_as_its_digits_in_json(case: tuple[str, float]) -> None:
    dtype, value = case
    number = np.dtype(dtype).type(np.trunc(value))
    for written in (number, np.float64(number)):
        digits = np.format_float_positional(written, unique=True, trim="-")
        assert array_of("x", int(digits), dtype, json=True) == number


# --- the doors' own readers ----------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda items: (
        st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=2), items, max_size=2)
    ),
)


@given(st.sampled_from(DTYPES), json_values, st.booleans())
def test_a_reader_of_requests_takes_any_value_or_refuses_it(
    dtype: str, value: Any, json: bool
) -> None:
    model = OnnxModel(
        name="m",
        inputs=[{"name": "x", "dtype": dtype, "shape": ["n", 2]}],
        batch_axis=BatchAxis(Verdict.NO, reason="nobody looked").to_json(),
    )
    for reads in (
        lambda: from_python(model, {"x": value}, json=json),
        lambda: ItemReader(model, lists=json).read({"x": value}),
        lambda: rows.from_values({"x": value}, {"x": dtype}, json=json),
        lambda: decode_json_tensor(
            {"name": "x", "datatype": NAMES[dtype], "shape": [1, 2], "data": value}
        ),
    ):
        with contextlib.suppress(InvalidRequest):
            reads()
