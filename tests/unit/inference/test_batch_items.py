"""Files as items, items as batches, and batches' outputs as items' again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batches import parquet, storage
from inference.batches.items import Group, Grouper, Item, ItemReader
from inference.batches.readers import RawItem, format_of, read_items
from inference.errors import InvalidRequest, TooLarge
from inference.graph.atomic import atomic_write
from inference.graph.batching.batch_axis import BatchAxis, Verdict, refused
from inference.models import OnnxModel
from inference.sandbox import archives
from inference.sandbox.jobs.results import pieces, plain, split

X = {"name": "x", "dtype": "float32", "shape": ["rows", "width"]}
SCALE = {"name": "scale", "dtype": "float32", "shape": []}


def model(*ports: dict[str, Any], has_batch: bool = True) -> OnnxModel:
    axis = BatchAxis(Verdict.PROVED, ("x",)) if has_batch else refused("it has none")
    given = list(ports or (X,))
    return OnnxModel(name="m", inputs=given, batch_axis=axis.to_json(), summary={})


def listed(path: Path) -> list[RawItem]:
    return list(read_items(path, format_of(path), {"x": "float32", "t": "int64"}))


def plainly(items: list[RawItem]) -> list[Any]:
    """Arrays as lists, for comparing."""
    return [
        item.values and {name: _plain(item.values[name]) for name in item.values} for item in items
    ]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def save(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as file:
        archives.write(file, {n: np.asarray(a) for n, a in arrays.items()})
    return path


# --- files ---------------------------------------------------------------------------------


def test_jsonl_items_are_lines_and_each_bad_one_says_which_it_is(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = (
        b'{"x": [1]}\n\n[1]\n{"x": \n\xff\n{"x": [2], "t": 7}\n{"x": [1e39]}\n{"t": 1.5}\n'
        b'{"text": "a"}\n{"text": 5}\n{"x": [1], "zz": [2]}'
    )
    path.write_bytes(lines)
    items = listed(path)
    assert [item.where for item in items] == [f"line {n}" for n in (1, 3, 4, 5, 6, 7, 8, 9, 10, 11)]
    assert plainly(items) == [
        {"x": [1]}, None, None, None, {"x": [2], "t": 7}, None, None, {"text": "a"}, None,
        {"x": None, "zz": None},
    ]  # fmt: skip
    assert items[4].values is not None
    assert items[4].values["x"].dtype == np.float32, "arrays come, not lists"
    for item, why in zip(
        items[1:4] + items[5:7] + items[8:9],
        ("an object", "expected JSON", "UTF-8", "expected float32", "expected int64", "a string"),
        strict=True,
    ):
        assert why in item.error


def test_npz_items_lie_along_the_first_axis(tmp_path: Path) -> None:
    items = listed(save(tmp_path / "in.npz", x=[[1.0, 2], [3, 4]], file=[7, 8]))
    assert [item.where for item in items] == ["item 0", "item 1"]
    assert items[1].values is not None
    assert items[1].values["x"].tolist() == [3, 4]
    assert items[1].values["file"].tolist() == 8


def test_parquet_items_are_rows_and_empty_columns_are_left_out(tmp_path: Path) -> None:
    lines, path = tmp_path / "in.jsonl", tmp_path / "it's.parquet"
    lines.write_text('{"x": [[1.5, 2], [3, 4]], "t": 1}\n{"x": [[5, 6]]}\n')
    parquet.from_jsonl(
        lines, {"x": parquet.sql_type("float32", 2), "t": "INTEGER"}, path, longest=99
    )
    assert plainly(listed(path)) == [
        {"x": [[1.5, 2], [3, 4]], "t": 1},
        {"x": [[5, 6]]},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"", "expected a file that ends in"),
        ("nosuch.jsonl", None, "no such file"),
        ("nosuch.parquet", None, "no such file"),
        ("in.npz", b"hello", "cannot be read as npz"),
        ("in.parquet", b"hello, this is no parquet", "cannot be read as parquet"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequest, match=message):
        listed(tmp_path / name)


def test_npz_arrays_must_agree_on_the_number_of_items(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="differ in length"):
        listed(save(tmp_path / "in.npz", x=[1, 2], y=[1, 2, 3]))
    with pytest.raises(InvalidRequest, match="'x' is a scalar"):
        listed(save(tmp_path / "in.npz", x=1))


def test_columns_that_parquet_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"y": 1, "Y": 2}')
    with pytest.raises(parquet.NotParquet):
        parquet.from_jsonl(
            tmp_path / "in.jsonl", {"y": "BIGINT", "Y": "BIGINT"}, tmp_path / "out", longest=9
        )


def test_an_npz_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path, settings: Any) -> None:
    settings.WEBPOOL_MAX_UPLOAD_MB = 1
    savez: Any = np.savez_compressed
    savez(tmp_path / "in.npz", x=np.zeros((2, 2**18), np.float32))
    assert (tmp_path / "in.npz").stat().st_size < 2**14
    with pytest.raises(TooLarge, match="2 MB when unpacked"):
        listed(tmp_path / "in.npz")


def test_strings_are_kept(tmp_path: Path) -> None:
    text = {"name": "x", "dtype": "string", "shape": ["rows"]}
    item = ItemReader(model(text), lists=True).read({"x": "größer"})
    path = save(tmp_path / "a.npz", **item.tensors)
    assert storage.read_arrays(path)["x"].tolist() == ["größer"]


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=[1])
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.read_arrays(path)["x"].tolist() == [1]
    assert list(tmp_path.iterdir()) == [path]


# --- items ---------------------------------------------------------------------------------


def test_an_item_gets_the_batch_axis_it_lacks_and_keeps_the_one_it_has() -> None:
    reader = ItemReader(model(), lists=True)
    without, with_axis = reader.read({"x": [1, 2]}), reader.read({"x": [[1, 2], [3, 4]]})
    assert (without.tensors["x"].shape, without.rows, without.adds_axis) == ((1, 2), 1, True)
    assert (with_axis.tensors["x"].shape, with_axis.rows, with_axis.adds_axis) == ((2, 2), 2, False)
    array = reader.read({"x": np.ones(2, np.float32)})
    assert (array.tensors["x"].shape, array.adds_axis) == ((1, 2), True)
    assert array.tensors["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"y": [1]}, "unknown input 'y'"),
        ({}, "missing input 'x'"),
        ({"x": [[[1]]]}, "expected shape"),
        ({"x": ["a"]}, "got 'a' at \\[0\\]"),
        ({"x": [[1], [2, 3]]}, "ragged"),
        ({"x": np.full(2, 1e39)}, "expected float32"),
        ({"x": np.ones((0, 2), np.float32)}, "one row or more"),
        ({"text": 1}, "expected a string"),
        ({"text": "a"}, "no tokenizer"),
    ],
)
def test_a_wrong_item_says_what_was_expected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ItemReader(model(), lists=True).read(values)


# --- batches -------------------------------------------------------------------------------


def group(items: list[Item], *, most_items: int = 4, most_bytes: int = 2**20) -> list[Group]:
    grouper = Grouper(most_items=most_items, most_bytes=most_bytes)
    full = [g for position, item in enumerate(items) for g in grouper.add(position, item)]
    return full + grouper.rest()


def positions(groups: list[Group]) -> list[list[int]]:
    return [g.positions for g in groups]


def test_only_items_of_equal_shape_share_a_batch() -> None:
    reader = ItemReader(model(), lists=True)
    items = [reader.read({"x": [0.0] * width}) for width in (2, 3, 2, 3, 3, 2, 2, 2)]
    assert positions(group(items)) == [[0, 2, 5, 6], [1, 3, 4], [7]]


def test_a_value_that_is_not_split_must_be_the_same_in_a_batch() -> None:
    reader = ItemReader(model(X, SCALE), lists=True)
    items = [reader.read({"x": [0.0], "scale": scale}) for scale in (1.0, 2.0, 1.0)]
    groups = group(items)
    assert positions(groups) == [[0, 2], [1]]
    assert groups[0].tensors()["x"].shape == (2, 1)
    assert groups[0].tensors()["scale"].shape == ()


def test_without_a_batch_axis_every_item_is_a_batch() -> None:
    reader = ItemReader(model(has_batch=False), lists=True)
    assert positions(group([reader.read({"x": [0.0]})] * 3)) == [[0], [1], [2]]


def test_a_batch_has_a_limit_in_bytes() -> None:
    reader = ItemReader(model(), lists=True)
    items = [reader.read({"x": [0.0] * 10})] * 5  # of 40 bytes each
    assert positions(group(items, most_bytes=100)) == [[0, 1], [2, 3], [4]]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=40), st.integers(1, 5))
def test_every_item_gets_its_own_rows_back(shapes: list[tuple[int, int]], most: int) -> None:
    """Joined to batches and split again, with an output that is the input."""
    reader = ItemReader(model(), lists=True)
    given_items = [
        reader.read({"x": np.full((rows, width), i, np.float32)})
        for i, (rows, width) in enumerate(shapes)
    ]
    back: dict[int, Any] = {}
    for batch in group(given_items, most_items=most):
        assert len(batch.items) <= most
        rows = batch.items[0].rows
        parts = split(
            batch.tensors(),
            {"x": False},
            count=len(batch.items),
            rows=rows,
            adds_axis=False,
            by_rows=True,
        )
        for position, part in zip(batch.positions, parts, strict=True):
            assert position not in back
            back[position] = part["x"]
    assert [back[i].tolist() for i in range(len(shapes))] == [
        item.tensors["x"].tolist() for item in given_items
    ]


def test_an_axis_that_was_added_is_taken_from_the_results() -> None:
    outputs = {"y": np.arange(6, dtype=np.float32).reshape(3, 2)}
    items = split(outputs, {"y": False}, count=3, rows=1, adds_axis=True, by_rows=True)
    assert [item["y"].tolist() for item in items] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(("single", "shape"), [(True, (2,)), (False, (1, 2))])
def test_alone_an_item_loses_the_axis_only_where_a_single_row_is_declared(
    single: bool, shape: tuple[int, ...]
) -> None:
    outputs = {"y": np.ones((1, 2), np.float32)}
    (item,) = split(outputs, {"y": single}, count=1, rows=1, adds_axis=True, by_rows=False)
    assert item["y"].shape == shape


def test_json_has_words_for_what_it_cannot_write_as_a_number() -> None:
    array = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    assert plain(array) == [[1.5, "nan"], ["inf", "-inf"]]
    json.dumps(plain(array), allow_nan=False)
    assert plain(np.array(np.nan)) == "nan"


@given(st.lists(st.integers(0, 5), max_size=4), st.integers(1, 9))
def test_an_array_written_in_pieces_is_the_same_json(shape: list[int], most: int) -> None:
    array = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    with pytest.MonkeyPatch.context() as small:
        small.setattr("inference.sandbox.jobs.results._VALUES_AT_ONCE", most)
        assert b"".join(pieces(array)) == json.dumps(array.tolist()).encode()
