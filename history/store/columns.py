"""Rows as columns of numpy arrays, which DuckDB reads 150 times faster than rows of Python values.

A missing text is the empty string on the way, a missing number or truth value NaN: an array of objects
would have to be guessed at by DuckDB, and it looks at the first thousand only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from history.core.samples import Observation

Column = tuple[str, Callable[[Iterable[Any]], "np.ndarray[Any, Any]"]]


def _texts(values: Iterable[Any]) -> np.ndarray[Any, Any]:
    return np.array([value or "" for value in values], dtype=object)


def _numbers(values: Iterable[Any]) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _integers(values: Iterable[Any]) -> np.ndarray[Any, Any]:
    return np.array(list(values), dtype=np.int64)


def _times(values: Iterable[Any]) -> np.ndarray[Any, Any]:
    return np.array(list(values), dtype="datetime64[us]")


def _documents(values: Iterable[Any]) -> np.ndarray[Any, Any]:
    texts = [json.dumps(value, default=str, allow_nan=False) for value in values]
    return np.array(texts, dtype=object)


_TEXT: Final[Column] = ("nullif({0}, '')", _texts)
_DOUBLE: Final[Column] = ("CASE WHEN NOT isnan({0}) THEN {0} END", _numbers)
_INTEGER: Final[Column] = ("CASE WHEN NOT isnan({0}) THEN {0}::BIGINT END", _numbers)
_TRUTH: Final[Column] = ("CASE WHEN NOT isnan({0}) THEN {0} > 0.5 END", _numbers)
_BY_TYPE: Final[dict[str, Column]] = {
    "str": _TEXT,
    "str | None": _TEXT,
    "Kind": _TEXT,
    "Blame | None": _TEXT,
    "int": ("{0}", _integers),
    "int | None": _INTEGER,
    "float | None": _DOUBLE,
    "bool": _TRUTH,
    "bool | None": _TRUTH,
    "datetime": ("{0}", _times),
    "Mapping[str, Any]": ("{0}", _documents),
}
# Annotations are strings here: `from __future__ import annotations` in core/samples.py.
COLUMNS: Final[dict[str, Column]] = {
    field.name: _BY_TYPE[str(field.type)] for field in dataclasses.fields(Observation)
}


def arrays(rows: Sequence[Observation]) -> dict[str, np.ndarray[Any, Any]]:
    """One array per column, each as long as `rows`."""
    return {
        name: convert(getattr(row, name) for row in rows) for name, (_, convert) in COLUMNS.items()
    }


def plain_arrays(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """One array per column of rows that have no missing value: times, numbers, texts, or documents."""
    return {name: _plain([row[name] for row in rows]) for name in rows[0]}


def _plain(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if isinstance(values[0], datetime):
        return _times(values)
    if isinstance(values[0], Mapping):
        return _documents(values)
    return np.array(values, dtype=object if isinstance(values[0], str) else None)


def expressions() -> str:
    """The arrays as SQL values, in the order of `COLUMNS`."""
    return ", ".join(sql.format(name) for name, (sql, _) in COLUMNS.items())
