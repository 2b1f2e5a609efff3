"""Every strategy over every kind of model, on real browsers: equal to onnxruntime, or clearly refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from inference.graph.reference import equal, largest_difference, reference
from inference.zoo import families
from tests.support.doors import ask, multipart, send, upload
from tests.support.ensembles import in_order
from tests.support.matrix import BLOCKLESS, Case, cases, component_cases, components, question
from tests.support.stack import RunningStack

# Activations of these are half floats inside, behind float32 ports.
HALF = ("float16", "int4-float16")


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_strategy_over_a_model(
    stack: RunningStack, client: triton.InferenceServerClient, zoo: Path, case: Case
) -> None:
    path, inputs = question(zoo, case.file, case.precision)
    name = f"{case.file.replace('.', '-')}-{case.precision}"
    registered = upload(stack, path, name)
    assert registered.status in (200, 201), registered.body
    try:
        got = ask(client, name, inputs, **case.parameters)
    except InferenceServerException as refusal:
        assert case.file in BLOCKLESS, refusal
        assert name in str(refusal)
        assert case.strategy not in ("none", "layer"), refusal
        return
    check(got, reference(path, inputs), case.precision)


@pytest.mark.parametrize("case", component_cases(), ids=str)
def test_components_of_a_family(
    stack: RunningStack, client: triton.InferenceServerClient, zoo: Path, case: Case
) -> None:
    parts = list(components(zoo, case.file, case.precision).values())
    manifest = parts[0].path.with_name("manifest.json")
    manifest.write_text(json.dumps(families.manifest(parts)))
    name = f"{case.file}-{case.precision}"
    files = [("manifest", manifest), *(("components", part.path) for part in parts)]
    registered = send(stack, "POST", "/api/models/", *multipart({"name": name}, files))
    assert registered.status in (200, 201), registered.body
    inputs = families.FAMILIES[case.file].example_inputs(5, batch=3)
    got = ask(client, name, inputs, strategy=case.strategy, browsers=case.browsers)
    check(got, in_order(manifest, inputs), case.precision)


def check(
    got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], precision: str
) -> None:
    assert set(got) == set(expected)
    for output, wanted in expected.items():
        if precision in HALF:
            limit = 2e-2 * max(1.0, float(abs(wanted).max()))
            assert largest_difference(got[output], wanted) <= limit
        else:
            assert equal(got[output], wanted), largest_difference(got[output], wanted)
