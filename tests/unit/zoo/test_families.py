"""Every family in every precision: a valid file that runs, and what must not change its answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from inference.zoo import llama, t5
from inference.zoo.families import FAMILIES, Family
from inference.zoo.precision import FLOAT16, FLOAT32, PRECISIONS
from tests.support.zoo import assert_near, dequantised, run_components, run_model

T5_FIRST = t5.T5Config(gated=False, tied=True)
MICROSOFT = llama.LlamaConfig(operators="microsoft")

VARIANTS = [
    *((name, None) for name in FAMILIES),
    ("t5", T5_FIRST),
    ("llama", MICROSOFT),
]
variants = pytest.mark.parametrize(
    ("name", "config"), VARIANTS, ids=[*FAMILIES, "t5-first", "llama-microsoft"]
)


@variants
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_toy_is_valid_and_computes(
    name: str, config: object, precision: str, tmp_path: Path
) -> None:
    family = FAMILIES[name]
    built = family.build(tmp_path, precision=PRECISIONS[precision], seed=3, config=config)
    for component in built:
        onnx.checker.check_model(str(component.path), full_check=True)
    inputs = family.example_inputs(5, config)
    answers = run_components(built, inputs)
    for array in answers.values():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        rows = array.reshape(len(array), -1)
        assert (rows.std(axis=1) > 1e-3).all()
        assert np.abs(rows[0] - rows[1]).max() > 1e-3 * np.abs(rows).max()
    tolerance = 2e-2 if PRECISIONS[precision].half else 1e-4
    assert_near(run_components(built, inputs, optimise=False), answers, tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_seed_decides(name: str, tmp_path: Path) -> None:
    def files(folder: str, seed: int) -> list[bytes]:
        (tmp_path / folder).mkdir()
        built = FAMILIES[name].build(tmp_path / folder, seed=seed)
        return [component.path.read_bytes() for component in built]

    first = files("first", 1)
    assert files("again", 1) == first
    assert all(a != b for a, b in zip(files("other", 2), first, strict=True))
    inputs = [FAMILIES[name].example_inputs(seed) for seed in (1, 1, 2)]
    same, differ = (
        all(np.array_equal(inputs[0][key], other[key]) for key in other) for other in inputs[1:]
    )
    assert same
    assert not differ


@variants
def test_float16_is_near_float32(name: str, config: object, tmp_path: Path) -> None:
    def answers(precision: object) -> dict:
        built = FAMILIES[name].build(tmp_path, precision=precision, config=config)  # type: ignore[arg-type]
        return run_components(built, FAMILIES[name].example_inputs(1, config))

    assert_near(answers(FLOAT16), answers(FLOAT32), 2e-2)


@variants
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantised_layers_compute_with_the_numbers_they_stand_for(
    name: str, config: object, precision: str, tmp_path: Path
) -> None:
    family = FAMILIES[name]
    built = family.build(tmp_path, precision=PRECISIONS[precision], config=config)
    inputs = family.example_inputs(1, config)
    answers = run_components(built, inputs)
    inputs |= {f: answers[s] for component in built for f, s in component.takes.items()}
    for component in built:
        got = run_model(component.path, inputs)
        plain = dequantised(component.path)
        assert b"MatMulNBits" not in plain
        assert_near(got, run_model(plain, inputs), 1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_do_not_touch_one_another(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    built = family.build(tmp_path)
    inputs = family.example_inputs(2, batch=3)
    whole = run_components(built, inputs)
    alone = run_components(built, {key: array[2:] for key, array in inputs.items()})
    for key, array in alone.items():
        wanted = whole[key][2:, 2:] if key[1].startswith("logits_per") else whole[key][2:]
        assert_near({key: array}, {key: wanted}, 1e-4)


@pytest.mark.parametrize(
    ("family", "config", "changed", "role", "kept"),
    [
        (FAMILIES["llama"], None, "input_ids", "decoder", "logits"),
        (FAMILIES["llama"], MICROSOFT, "input_ids", "decoder", "logits"),
        (FAMILIES["t5"], None, "decoder_input_ids", "decoder", "logits"),
        (FAMILIES["whisper"], None, "decoder_input_ids", "decoder", "logits"),
    ],
    ids=["llama", "llama-microsoft", "t5", "whisper"],
)
def test_a_decoder_does_not_look_ahead(
    family: Family, config: object, changed: str, role: str, kept: str, tmp_path: Path
) -> None:
    built = family.build(tmp_path, config=config)
    inputs = family.example_inputs(4, config)
    before = run_components(built, inputs)[role, kept]
    inputs[changed] = inputs[changed].copy()
    inputs[changed][0, 3] = (inputs[changed][0, 3] + 1) % 100
    after = run_components(built, inputs)[role, kept]
    np.testing.assert_allclose(after[0, :3], before[0, :3], atol=1e-5)
    assert (np.abs(after[0, 3:] - before[0, 3:]).max(axis=-1) > 1e-3).all()
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        (FAMILIES["bert"], None),
        (FAMILIES["t5"], None),
        (FAMILIES["llama"], None),
        (FAMILIES["llama"], MICROSOFT),
    ],
    ids=["bert", "t5", "llama", "llama-microsoft"],
)
def test_padding_does_not_count(family: Family, config: object, tmp_path: Path) -> None:
    built = family.build(tmp_path, config=config)
    inputs = family.example_inputs(4, config)
    padded = inputs["attention_mask"] == 0
    assert padded.any()
    before = run_components(built, inputs)
    inputs["input_ids"] = np.where(padded, 7, inputs["input_ids"])
    after = run_components(built, inputs)
    for key, array in after.items():
        tokens = array.shape[:2] == padded.shape  # of the padded text, not those of a decoder
        counts = ~padded if tokens else np.ones(len(array), bool)
        np.testing.assert_allclose(array[counts], before[key][counts], atol=1e-5)


def test_both_spellings_of_llama_agree(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    inputs = family.example_inputs(6)
    answers = []
    for config in (family.toy, MICROSOFT):
        built = family.build(tmp_path, config=config)
        answers.append(run_components(built, inputs)["decoder", "logits"])
    counts = inputs["attention_mask"] == 1
    np.testing.assert_allclose(answers[0][counts], answers[1][counts], atol=1e-4)


def test_every_input_is_given_by_the_caller_or_a_component(tmp_path: Path) -> None:
    for family in FAMILIES.values():
        inputs = family.example_inputs(0)
        roles: set[str] = set()
        for component in family.build(tmp_path):
            ports = {port.name for port in onnx.load(str(component.path)).graph.input}
            assert {role for role, _ in component.takes.values()} <= roles
            assert ports <= inputs.keys() | component.takes.keys()
            assert not inputs.keys() & component.takes.keys()
            roles.add(component.role)
