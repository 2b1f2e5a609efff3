"""Documents as pages tell them."""

from __future__ import annotations

import pytest

from webpool_site.telling.outline import outline


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        ({}, "none"),
        ([], "none"),
        ([3, 224.0, True], "3, 224, yes"),
        ([[1, 3], [1, "<b>"]], "[1, 3], [1, &lt;b&gt;]"),
        ({"x": [1, 3], "compute_ms": 85.94410956242984}, "x: 1, 3; compute: 85.9 ms"),
        ({"load_ms": None, "right": False}, "load: unknown; right: no"),
        ({"names_ms": ["<i>"]}, "names_ms: &lt;i&gt;"),
    ],
)  # fmt: skip
def test_what_is_short_is_a_line(value: object, said: str) -> None:
    assert outline(value) == said


def test_a_number_has_the_unit_of_its_field() -> None:
    assert outline([1.5, 2000], "samples_ms") == "1.5 ms, 2 s"


def test_what_is_deep_is_folded() -> None:
    told = outline({"steps": [{"shape": {"x": 1}}], "mean_ms": 1 / 3})
    assert told == (
        '<ul class="wp-said"><li><details><summary>steps</summary><ul class="wp-said"><li><details>'
        '<summary>entry 1</summary><ul class="wp-said"><li>shape: x: 1</li></ul></details></li></ul>'
        "</details></li><li>mean: 0.333 ms</li></ul>"
    )
