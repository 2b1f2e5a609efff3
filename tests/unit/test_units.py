"""Numbers and units as pages write them."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stack import ROOT
from webpool_site.setup.node import find_node
from webpool_site.telling import units


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "0"),
        (0.0, "0"),
        (85.94410956242984, "85.9"),
        (1.2e-07, "1.20e-07"),
        (0.00123456, "0.00123"),
        (0.5, "0.5"),
        (9.999, "10"),
        (1234.56, "1,235"),
        (200_000, "200,000"),
        (-12.345, "-12.3"),
        (float("nan"), "nan"),
        (123456.7, "123,457"),
        (99.96, "100"),
        (2.5e10, "25,000,000,000"),
    ],
)
def test_numbers(value: float | None, said: str) -> None:
    assert units.number(value) == said


def test_a_unit_stands_behind_what_is_known() -> None:
    assert units.number(1234.5, "ms") == "1,234 ms"
    assert units.number(None, "ms") == "unknown"


@pytest.mark.parametrize(
    ("name", "value", "title", "said"),
    [
        ("compute_ms", 1250.123, "compute", "1.25 s"),
        ("memory_mb", 1536.0, "memory", "1.5 GB"),
        ("bytes_in", 312, "bytes_in", "312 bytes"),
        ("file_bytes", 2048, "file", "2 KB"),
        ("memory_used_percent", 40.123456, "memory_used", "40.1 %"),
        ("recompute_s", 0.25, "recompute", "250 ms"),
        ("samples", 1234, "samples", "1,234"),
        ("load_ms", None, "load", "unknown"),
    ],
)
def test_a_name_tells_the_unit(name: str, value: float | None, title: str, said: str) -> None:
    assert (units.without_unit(name), units.named(name, value)) == (title, said)


def test_pages_scripts_write_them_alike() -> None:
    values = [
        None,
        0,
        1,
        7,
        312,
        1023,
        1024,
        12.25,
        0.125,
        -12.25,
        1.45,
        99.95,
        99.5,
        100.5,
        101.5,
        999.5,
    ]
    values += [1234.5, 1e15, 2.5e15, 1.2e-7, -3e-5]
    values += [
        sign * m * 10**e for e in range(-6, 14) for m in (1.0, 1.2345, 9.995) for sign in (1, -1)
    ]
    node = find_node()
    assert node is not None, "node is missing: run `manage.py setup --only node`"
    script = """
      import { readFileSync } from 'node:fs';
      const { number, milliseconds, size } = await import(process.argv[1]);
      const values = JSON.parse(readFileSync(0, 'utf8'));
      console.log(JSON.stringify(values.map((one) => [number(one), milliseconds(one), size(one)])));
    """
    module = ROOT / "inference" / "static" / "inference" / "units.js"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script, module.as_uri()],
        env=node.environment(), input=json.dumps(values), capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = [[units.number(one), units.milliseconds(one), units.size(one)] for one in values]
    assert json.loads(done.stdout) == said


@given(st.floats(1e-3, 1e9, exclude_max=True))
def test_what_is_read_is_near_what_was_measured(value: float) -> None:
    read = units.number(value)
    assert "e" not in read
    assert float(read.replace(",", "")) == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0.0, "0 ms"),
        (0.345, "0.345 ms"),
        (12.34, "12.3 ms"),
        (999.4, "999 ms"),
        (1000.0, "1 s"),
        (1254.0, "1.25 s"),
        (125_000.0, "2 min 5 s"),
        (7_260_000.0, "2 h 1 min"),
    ],
)
def test_times(value: float | None, said: str) -> None:
    assert units.milliseconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (312, "312 bytes"),
        (1229, "1.2 KB"),
        (86.74 * 2**20, "86.7 MB"),
        (950 * 2**20, "950 MB"),
        (1536 * 2**20, "1.5 GB"),
    ],
)
def test_sizes(value: float | None, said: str) -> None:
    assert units.size(value) == said
    assert units.megabytes(None if value is None else value / 2**20) == said
