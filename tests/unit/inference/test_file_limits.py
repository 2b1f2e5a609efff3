"""A file of items is counted by what its headers tell, before anything of it is made."""

from __future__ import annotations

import io
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from inference.batches import parquet, readers
from inference.batches.items import ItemReader
from inference.batches.readers import MOST_ITEMS, read_items
from inference.errors import InvalidRequest, TooLarge
from inference.graph.batching.batch_axis import BatchAxis, Verdict
from inference.models import OnnxModel
from inference.sandbox import archives

IDS = {"name": "ids", "dtype": "int64", "shape": ["rows", "width"]}
MASK = {**IDS, "name": "mask", "default": "ones_like:ids"}
WORDS = {"name": "words", "dtype": "string", "shape": ["rows", "width"]}
TYPES, LIKE = {"ids": "int64", "mask": "int64"}, {"mask": "ids"}
SMALL_MB = 100  # of memory: whoever unpacks these files needs more


def reader(*ports: dict[str, Any]) -> ItemReader:
    axis = BatchAxis(Verdict.PROVED, (ports[0]["name"],))
    model = OnnxModel(name="m", inputs=list(ports), batch_axis=axis.to_json(), summary={})
    return ItemReader(model, lists=False)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def zeros(path: Path, dtype: str, *shape: int) -> Path:
    """An npz of one array of zeros, `ids`, written a megabyte at a time."""
    kind = {"descr": dtype, "fortran_order": False, "shape": shape}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("ids.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, kind)
        left = int(np.prod(shape)) * np.dtype(dtype).itemsize
        while left:
            left -= member.write(bytes(min(2**20, left)))
    return path


def packed(path: Path, query: str) -> Path:
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def first(path: Path) -> Any:
    return next(read_items(path, path.suffix[1:], TYPES, LIKE))


# --- how large ---------------------------------------------------------------------------------------


def test_an_npz_item_is_counted_as_the_models_tensors_before_it_is_unpacked(
    tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_SANDBOX_MEMORY_MB = SMALL_MB
    path = zeros(tmp_path / "in.npz", "|u1", 1, 300_000_000)
    assert path.stat().st_size < 2**20
    with pytest.raises(InvalidRequest, match=r"has 4578 MB, .*WEBPOOL_MAX_REQUEST_MB") as told:
        first(path)
    assert told.value.status == 400


def test_what_is_filled_in_is_a_part_of_an_item_of_a_file(tmp_path: Path, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20
    ids, mask = np.zeros((1, 70_000), np.uint8), np.zeros((1, 10), np.int64)
    with pytest.raises(InvalidRequest, match="the item has 1 MB"):
        first(npz(tmp_path / "in.npz", ids=ids))
    assert first(npz(tmp_path / "in.npz", ids=ids, mask=mask)).values["ids"].shape == (70_000,)
    path = packed(tmp_path / "in.parquet", "SELECT [1 for i in range(70000)] AS ids")
    assert "WEBPOOL_MAX_REQUEST_MB" in first(path).error
    path = packed(tmp_path / "in.parquet", "SELECT [1 for i in range(70000)] AS ids, [1] AS mask")
    assert first(path).values["ids"].shape == (70_000,)


def test_an_npz_is_counted_whole_as_the_models_tensors(tmp_path: Path, settings: Any) -> None:
    settings.WEBPOOL_SANDBOX_MEMORY_MB = SMALL_MB
    with pytest.raises(TooLarge, match=r"4578 MB when unpacked.*WEBPOOL_MAX_UPLOAD_MB"):
        first(zeros(tmp_path / "in.npz", "|u1", 1000, 600_000))


@pytest.mark.parametrize("ports", [(IDS,), (IDS, MASK)])
def test_nothing_is_widened_or_filled_in_before_it_is_counted(
    settings: Any, ports: tuple[dict[str, Any], ...]
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 12 * 2**20
    values = np.ones((1, 2**20), np.uint8)
    ids = values if len(ports) > 1 else np.ones((1, 2**21), np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match=r"16 MB.*WEBPOOL_MAX_REQUEST_MB"):
            reader(*ports).read({"ids": ids})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_an_array_that_is_refused_for_a_value_is_not_made_anew_in_python() -> None:
    values = np.full((1, 2**22), 2.0**60)
    values[0, -1] = 1e39
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match=r"got 1e\+39 at \[0, 4194303\]"):
            reader({**IDS, "dtype": "float32"}).read({"ids": values})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * values.nbytes


def test_an_item_of_texts_weighs_its_letters() -> None:
    item = reader(WORDS).read({"words": np.array([["x" * 10_000]])})
    assert item.nbytes > 10_000


@pytest.mark.parametrize("name", ["text", "words"])
def test_a_long_text_is_refused_where_it_is_unpacked(
    tmp_path: Path, settings: Any, name: str
) -> None:
    settings.WEBPOOL_MAX_JSON_MB = 1
    path = packed(
        tmp_path / "in.parquet",
        f"SELECT repeat('x', n) AS {name} FROM (VALUES (9), (2000000)) v(n)",
    )
    short, long = read_items(path, "parquet", {"words": "string"})
    assert short.values is not None
    assert (long.values, long.error) == (
        None,
        "a text has 2 MB, the limit is 1 MB (WEBPOOL_MAX_JSON_MB)",
    )
    with pytest.raises(InvalidRequest, match="WEBPOOL_MAX_JSON_MB"):
        first(npz(tmp_path / "in.npz", words=np.array(["x" * 2_000_000])))


# --- how many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "shape"), [("<f4", (10**9, 0)), ("<i8", (20_000_000, 1)), ("<U0", (10**9, 1))]
)
def test_an_npz_of_too_many_items_is_refused_by_its_header(
    tmp_path: Path, settings: Any, dtype: str, shape: tuple[int, ...]
) -> None:
    settings.WEBPOOL_SANDBOX_MEMORY_MB = SMALL_MB
    with pytest.raises(TooLarge, match="more than 1,000,000 items: send them as several jobs"):
        first(zeros(tmp_path / "in.npz", dtype, *shape))


def test_a_parquet_of_too_many_rows_is_refused_before_any_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "in.parquet", f"SELECT 1 AS ids FROM range({MOST_ITEMS + 1})")
    with pytest.raises(TooLarge, match="more than 1,000,000 items"):
        first(path)


def test_lines_are_counted_before_any_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MOST_ITEMS", 9)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n\n" * 50 + b"[]\n" * 9)
    assert "expected an object" in first(path).error
    path.write_bytes(b"[]\n" * 10)
    with pytest.raises(TooLarge, match="more than 9 items"):
        first(path)


# --- what it is --------------------------------------------------------------------------------------


def refusal(raw: bytes) -> str:
    with pytest.raises(ValueError) as told:
        archives.read(io.BytesIO(raw))
    return str(told.value)


def saved(save: Any, *arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, *arrays)
    return file.getvalue()


def zipped(*names: str, content: bytes = b"") -> bytes:
    content = content or saved(np.save, np.zeros(1))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (saved(np.save, np.zeros(3)), "expected an npz .*got a single array.*savez"),
        (b"hello there", "expected an npz .*got a file that begins with b'hello"),
        (b"", "got an empty file"),
        (zipped("x.npy", "y.npy", "x.npy"), "two members are called 'x'"),
        (zipped("x.npy", "x"), "two members are called 'x'"),
        (zipped("x.npy", content=b"12345678"), "member 'x' is no array"),
        (saved(np.savez, np.array([{}], object)), "member 'arr_0' .* pickled objects"),
        (zipped("x.npy", content=saved(np.save, np.zeros(9))[:-8]), "72 bytes, but 64 are there"),
    ],
)
def test_what_is_no_npz_is_told_in_its_own_words(raw: bytes, says: str) -> None:
    told = refusal(raw)
    assert re.search(says, told), told
    assert "allow_pickle" not in told


@pytest.mark.parametrize("count", [archives.MOST_MEMBERS + 1, 30_000])
def test_an_npz_of_too_many_members_is_refused_by_its_list(count: int) -> None:
    raw = zipped(*(f"m{number}.npy" for number in range(count)))
    assert "expected at most 1024 arrays" in refusal(raw)


def test_a_refusal_names_few_of_many_arrays(tmp_path: Path) -> None:
    many = {f"z{number}": np.zeros((1, 1)) for number in range(200)}
    with pytest.raises(
        InvalidRequest, match=r"unknown input 'z0', .* and 195 more; expected 'ids'"
    ):
        reader(IDS).read(many)
    uneven = {f"z{number}": np.zeros((number, 1)) for number in range(200)}
    with pytest.raises(InvalidRequest, match=r"\(z0: 0, .*, and 195 more\)"):
        first(npz(tmp_path / "in.npz", **uneven))


def test_a_folder_with_an_equals_sign_is_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "year=2024"
    folder.mkdir()
    assert first(packed(folder / "in.parquet", "SELECT [1] AS ids")).values.keys() == {"ids"}
    (folder / "lines").write_text('{"x": 1.5}\n')
    parquet.from_jsonl(folder / "lines", {"x": "DOUBLE"}, folder / "out.parquet", longest=99)
    (made,) = read_items(folder / "out.parquet", "parquet", {"x": "float64"})
    assert made.values is not None
    assert made.values.keys() == {"x"}
