"""Outputs as people read them: labels with their values, pictures, vectors drawn, else the first values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np

from inference.core.expectations import Expectations, Labels, PictureOut
from inference.documents import Array, JsonObject
from webpool_site.telling.units import number

_MOST_LABELS: Final = 5
_MOST_DRAWN: Final = 1024
_MOST_ROWS: Final = 16
_FIRST: Final = 16
_HEIGHT: Final = 40
_NUMBERS: Final = "biuf"


def shown(name: str, array: Array, expected: Expectations) -> JsonObject:
    """As JSON can say it; `kind`: labels or vector (with `rows`), image (`pictures`), values (`first`)."""
    told: JsonObject = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    form = expected.outputs.get(name) if array.dtype.kind in _NUMBERS and array.size else None
    if isinstance(form, Labels) and array.ndim and array.shape[-1] == len(form.labels):
        return {**told, "kind": "labels", "rows": _labels(array, form)}
    if isinstance(form, PictureOut) and array.ndim == 4:
        return {**told, "kind": "image", "pictures": _pictures(array, form)}
    if array.dtype.kind == "f" and array.ndim and 1 < array.shape[-1] <= _MOST_DRAWN:
        rows = array.reshape(-1, array.shape[-1])[:_MOST_ROWS]
        return {
            **told,
            "kind": "vector",
            "rows": [[_plain(value) for value in row] for row in rows],
        }
    return {**told, "kind": "values", "first": [_plain(value) for value in array.ravel()[:_FIRST]]}


def drawn(told: JsonObject) -> JsonObject:
    """The same with what a page draws: labels' values as text, a vector's rows as bars, its first values."""
    if told["kind"] == "labels":
        rows = [
            [{**one, "said": number(float(one["value"]))} for one in row] for row in told["rows"]
        ]
        return {**told, "rows": rows}
    if told["kind"] != "vector":
        return told
    rows = told["rows"]
    return {**told, "bars": [_bars(row) for row in rows], "first": rows[0][:_FIRST] if rows else []}


def _plain(value: np.generic) -> object:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not np.isfinite(plain):
        return str(plain)  # JSON has none
    return plain


def _labels(array: Array, form: Labels) -> list[list[JsonObject]]:
    rows = array.reshape(-1, len(form.labels)).astype(np.float64)[:_MOST_ROWS]
    if form.softmax:
        raised = np.exp(rows - rows.max(axis=-1, keepdims=True))
        rows = raised / raised.sum(axis=-1, keepdims=True)
    return [
        [
            {"label": form.labels[at], "value": _plain(row[at])}
            for at in np.argsort(-row, kind="stable")[:_MOST_LABELS]
        ]
        for row in rows
    ]


def _pictures(array: Array, form: PictureOut) -> list[str]:
    """PNG files as `data:` addresses."""
    from PIL import Image

    rows = array if form.layout == "NHWC" else array.transpose(0, 2, 3, 1)
    found = []
    for row in rows[:_MOST_ROWS]:
        values = np.nan_to_num(row.astype(np.float64) * form.scale + form.shift)
        pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        grey = pixels.shape[-1] != 3
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if grey else pixels).save(file, "PNG")
        found.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    return found


def _bars(row: Sequence[float | str]) -> JsonObject:
    """A vector as the path of an SVG: a bar per value around the middle, the largest as high as there is."""
    values = np.nan_to_num(np.asarray(row, np.float64))
    largest = float(np.abs(values).max()) or 1.0
    middle = _HEIGHT / 2
    path = "".join(
        f"M{at} {middle:g}h1v{-value / largest * middle:.2f}h-1z" for at, value in enumerate(values)
    )
    return {"path": path, "width": len(values), "height": _HEIGHT, "largest": largest}
