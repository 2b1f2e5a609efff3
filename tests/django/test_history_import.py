"""A file that cannot be right is refused in a line and changes nothing; what a spreadsheet wrote is read."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.core.management import CommandError, call_command

from history import answers

pytestmark = pytest.mark.django_db(transaction=True)

ROW = {
    "timestamp": "2026-01-01T00:00:00", "browser": "chromium", "model_type": "text",
    "model_name": "m", "success": True, "latency_ms": 1.5,
}  # fmt: skip
HEADER = ",".join(ROW)
LINE = "2026-01-01T00:00:00,chromium,text,m,true,1.5"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history" / "history.duckdb"
    return tmp_path


def rows(**changes: Any) -> str:
    return json.dumps([{**ROW, **changes}])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "", "is empty"),
        ("a.csv", "", "is empty"),
        ("a.parquet", "", "is empty"),
        ("a.csv", HEADER, "holds no samples: no row after the header"),
        ("a.csv", f"rows_in_file,{HEADER}\n", "holds no samples: no row after the header"),
        ("a.json", "[]", "holds no samples"),
        ("a.json", " \n", "whole array"),
        ("a.csv", "\n\n", "no header"),
        ("a.csv", f"timestamp,{HEADER}\n{LINE},1\n", "twice"),
        ("a.json", rows() + "garbage", "after the array"),
        ("a.json", "[null]", "expected objects"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", rows(extra="[" * 100_000), "extra"),
        ("a.json", rows(extra={"a": float("nan")}), "no NaN"),
        ("a.json", rows(extra='{"a": NaN}'), "no NaN"),
        ("a.json", rows(extra={"\ud800": 1}), "surrogate"),
        *(
            ("a.json", rows(extra="@").replace('"@"', '{"a":' * n + "1" + "}" * n), "levels|deeply")
            for n in (49, 500, 900, 940, 960, 980, 984, 986, 988)
        ),
        ("a.json", rows(browser_version="\ud800"), "UTF-8"),
        ("a.json", rows(**{"\ud800": 1}), "unknown columns"),
        ("a.json", rows(source="x", source_id=10**24), "source_id"),
        ("a.json", rows().replace("1.5", "9" * 5000), "not a whole json file"),
        ("a.json", rows(batch_size=1e300), "batch_size"),
        ("a.json", rows(timestamp="0001-01-01T00:00:00+14:00"), "timestamp"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(
    home: Path, name: str, content: str, said: str
) -> None:
    (home / name).write_text(content)
    with pytest.raises(CommandError, match=said) as refused:
        call_command("import_history", str(home / name))
    assert refused.value.returncode == 2
    assert "\n" not in str(refused.value)
    assert answers.performance()["samples"] == []


def test_a_table_without_rows_is_refused(home: Path) -> None:
    file = home / "a.parquet"
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT 1 AS batch_size LIMIT 0) TO '{file}' (FORMAT parquet)")
    with pytest.raises(CommandError, match=r"a\.parquet holds no samples") as refused:
        call_command("import_history", str(file), stdout=StringIO())
    assert refused.value.returncode == 2


def test_a_folder_with_an_equals_sign_is_no_column(home: Path) -> None:
    file = home / "year=2024" / "a.parquet"
    file.parent.mkdir()
    (home / "a.json").write_text(rows())
    with duckdb.connect() as db:
        db.execute(f"COPY (FROM '{home / 'a.json'}') TO '{file}' (FORMAT parquet)")
    call_command("import_history", str(file), stdout=StringIO())
    assert len(answers.performance()["samples"]) == 1


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", rows()), ("a.csv", f"{HEADER}\n{LINE}\n")]
)
def test_a_byte_order_mark_is_no_part_of_the_first_name(
    home: Path, name: str, content: str
) -> None:
    (home / name).write_text("\ufeff" + content, encoding="utf-8")
    call_command("import_history", str(home / name), stdout=StringIO())
    (row,) = answers.performance()["samples"]
    assert row["latency_ms"] == 1.5
