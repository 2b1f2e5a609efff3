"""What `make bench` prints and which parts it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.graph.model import load
from inference.graph.reference import reference
from inference.zoo.families import FAMILIES
from webpool_site.lab.bench.parts import PARTS, UnknownPart, chosen
from webpool_site.lab.bench.stats import Table, row
from webpool_site.lab.bench.subjects import as_one


def test_every_part_is_a_module_with_a_measure() -> None:
    assert all(callable(part.measure()) for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_parts_are_chosen_by_name_and_an_unknown_one_is_refused() -> None:
    assert chosen("") == PARTS
    assert [part.name for part in chosen("throughput, overheads")] == ["overheads", "throughput"]
    with pytest.raises(UnknownPart, match="no part 'speed'; there are overheads"):
        chosen("speed")


def test_a_table_is_aligned_and_shows_what_is_unknown() -> None:
    table = Table("t", ("name", "ms"), (("a", 1.23456), ("longer", None), ("b", 1234.5)))
    assert table.text().splitlines() == [
        "t",
        "name      ms",
        "a       1.23",
        "longer     -",
        "b       1234",
    ]
    assert table.to_json()["lines"][1] == {"name": "longer", "ms": None}
    assert Table("none", ("name",), ()).text() == "none\nname"


def test_a_row_says_whether_its_goal_was_reached() -> None:
    assert row("x", [1.0, 2.0, 3.0], goal_ms=2.0).reached is True
    assert row("x", [1.0, 2.0, 3.0]).reached is None


@pytest.mark.parametrize("family", ["t5", "whisper"])
def test_encoder_and_decoder_as_one_graph_answer_as_one_after_the_other(
    family: str, tmp_path: Path
) -> None:
    encoder, decoder = FAMILIES[family].build(tmp_path, seed=3)
    inputs = FAMILIES[family].example_inputs(5)
    as_one([encoder, decoder], tmp_path / "whole.onnx")
    of = {
        part.role: {name: inputs[name] for name in _ports(part.path) if name in inputs}
        for part in (encoder, decoder)
    }
    hidden = reference(encoder.path, of["encoder"])
    taken = {port: hidden[source] for port, (_, source) in decoder.takes.items()}
    expected = reference(decoder.path, {**of["decoder"], **taken})
    got = reference(tmp_path / "whole.onnx", inputs)
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-6)


def _ports(path: Path) -> list[str]:
    return [port.name for port in load(path).graph.input]
