"""The checked-in table of what each test file takes: hints for the order and for the time left, no more."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.suite.units import Measured

TABLE = Path(__file__).with_name("durations.json")


def read(path: Path) -> dict[str, Measured]:
    """Empty where there is no table: every test then counts the same."""
    if not path.exists():
        return {}
    return {name: Measured(**entry) for name, entry in json.loads(path.read_text()).items()}


def write(path: Path, table: Mapping[str, Measured]) -> None:
    """Sorted, one file a line, so that a change is easy to read."""
    lines = [
        f"  {json.dumps(name)}: {json.dumps(dataclasses.asdict(entry))}"
        for name, entry in sorted(table.items())
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
