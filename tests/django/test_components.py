"""Models of several files: registered whole or not at all, planned as wired, run in order by the ledger."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from browsers.redis import client
from inference.catalog import components, plans, registry, uploads
from inference.catalog.component_plan import default_strategy
from inference.errors import InvalidRequest
from inference.graph.reference import equal, reference
from inference.ledger import claims, redispatch, results
from inference.ledger.attempts import AttemptFacts
from inference.models import OnnxModel, PlanStep, Run, RunState, RunStep, StepState
from inference.runs import creation
from inference.runs.answers import collect
from inference.runs.creation import RunRequest
from inference.scheduling import dispatch
from inference.store import tensors
from inference.store.files import files_dir, path_of
from inference.zoo import families
from inference.zoo.families import FAMILIES
from tests.support.ensembles import DIAMOND, diamond, in_order, question
from tests.support.ledger import publish

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    client().flushall()
    forget()
    yield
    client().flushall()
    forget()


def forget() -> None:
    for model in OnnxModel.objects.all():
        model.runs.all().delete()
        uploads.remove_model(model)
    plans.clear_cache()
    for name in stored():  # what other tests left
        path_of(name).unlink()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return diamond(tmp_path / "clip")


def add(manifest: Path, name: str = "clip", **words: Any) -> OnnxModel:
    return components.add_components(
        manifest.read_bytes(), manifest.parent, name=name, called=manifest.name, **words
    )


def rewrite(manifest: Path, **changes: Any) -> Path:
    manifest.write_text(json.dumps({**DIAMOND, **changes}))
    return manifest


def stored() -> set[str]:
    folder = files_dir()
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


# --- registration ---------------------------------------------------------------------


def test_the_row_says_what_the_whole_takes_and_gives(manifest: Path) -> None:
    model = add(manifest, model_type="multimodal")
    assert [port["name"] for port in model.inputs] == ["words", "pixels"]
    assert [(port["name"], port["tensor"]) for port in model.outputs] == [("score", "scores")]
    assert [item["name"] for item in model.components] == ["text", "image", "fusion"]
    assert model.weight_bytes == sum(item["weight_bytes"] for item in model.components)
    assert model.file_bytes == sum((path_of(f)).stat().st_size for f in stored())
    assert sum(item["cost"] for item in model.components) == pytest.approx(1.0)
    assert {item["sha256"] for item in model.components} == stored()


def test_the_same_content_under_the_same_name_is_the_same_model(manifest: Path) -> None:
    first = add(manifest)
    assert add(manifest).pk == first.pk
    document = json.loads(json.dumps(DIAMOND))
    document["components"][2]["outputs"] = {"pooled": "pooled"}  # spelt out: the same wiring
    manifest.write_text(json.dumps(document))
    assert add(manifest).pk == first.pk
    with pytest.raises(InvalidRequest, match="exists with other content"):
        add(rewrite(manifest, outputs=["scores"]))
    assert stored() == {item["sha256"] for item in first.components}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nosuch.onnx", r"component 'text': 'nosuch.onnx' is neither a file beside the manifest"),
        ("../clip/text.onnx", "does not lie beside the manifest"),
        ("junk.onnx", "component 'text': junk.onnx: it cannot be read as ONNX"),
    ],
)
def test_nothing_is_kept_of_what_is_refused(manifest: Path, file: str, message: str) -> None:
    (manifest.parent / "junk.onnx").write_bytes(b"junk")
    document = json.loads(json.dumps(DIAMOND))
    document["components"][1]["model"] = file
    manifest.write_text(json.dumps(document))
    with pytest.raises(InvalidRequest, match=message):
        add(manifest)
    assert not stored()
    assert not OnnxModel.objects.exists()


def test_bad_wiring_and_a_bad_tokenizer_leave_nothing(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidRequest, match=r"tokenizer\.json is not a tokenizer"):
        add(manifest, tokenizer=tmp_path / "tokenizer.json")
    with pytest.raises(
        InvalidRequest, match=r"clip\.json: output 'score' of the whole: no component"
    ):
        add(rewrite(manifest, outputs={"score": "nosuch"}))
    assert not stored()
    assert not OnnxModel.objects.exists()


def test_of_two_that_want_one_name_the_second_leaves_nothing(tmp_path: Path) -> None:
    manifests = [diamond(tmp_path / str(turns), matmuls=turns) for turns in (2, 3)]
    together = threading.Barrier(2)

    def call(manifest: Path) -> OnnxModel | None:
        together.wait()
        try:
            return add(manifest)
        except InvalidRequest as error:
            assert "exists with other content" in str(error)
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        (winner,) = filter(None, threads.map(call, manifests))
    assert stored() == {item["sha256"] for item in winner.components}


def test_a_model_may_be_made_of_registered_ones_and_outlives_them(manifest: Path) -> None:
    for name in ("text", "image", "fusion"):
        registry.add_model(manifest.parent / f"{name}.onnx", name=f"the-{name}")
    document = json.loads(json.dumps(DIAMOND))
    for item in document["components"]:
        item["model"] = f"the-{item['name']}"
    model = uploads.register_document(document, name="clip", model_type="multimodal")
    for name in ("text", "image", "fusion"):
        uploads.remove_model(registry.get_model(f"the-{name}"))
    assert stored() == {item["sha256"] for item in model.components}
    uploads.remove_model(model)
    assert not stored()


def test_components_do_not_nest(manifest: Path) -> None:
    add(manifest)
    document = {"components": [{"name": "whole", "model": "clip"}]}
    with pytest.raises(InvalidRequest, match="model clip is itself made of components"):
        uploads.register_document(document, name="nested", model_type="other")


# --- plans ---------------------------------------------------------------------


def test_the_plan_has_a_step_per_component(manifest: Path) -> None:
    model = add(manifest)
    assert default_strategy(model, None) == "component"
    plan = plans.ensure_plan(model, "component", None)
    assert plan.num_shards == 3
    assert plans.ensure_plan(model, "component", 3) == plan
    steps = plans.steps_of(plan)
    assert [(step.group, step.depends_on) for step in steps] == [
        ("text", []),
        ("image", []),
        ("fusion", [0, 1]),
    ]
    assert [step.crossing_bytes for step in steps] == [0, 0, 2 * 64 * 4]
    assert steps[2].inputs[0]["tensor"] == "text_pooled"


def test_a_file_used_twice_counts_once_in_the_model(manifest: Path) -> None:
    document = json.loads(json.dumps(DIAMOND))
    document["components"][2]["model"] = "text.onnx"
    manifest.write_text(json.dumps(document))
    model = add(manifest)
    steps = plans.steps_of(plans.ensure_plan(model, "component", None))
    assert [bool(step.copied_bytes) for step in steps] == [False, True, False]
    assert sum(s.weight_bytes - s.copied_bytes for s in steps) == model.weight_bytes


@pytest.mark.parametrize(
    ("strategy", "shards", "message"),
    [
        ("none", None, r"made of 3 components \(text, image, fusion\), which run by the strategy"),
        ("layer", 3, "strategy component, got layer"),
        ("data", 2, "strategy component, got data"),
        ("attention_feedforward", None, "got attention_feedforward"),
        ("component", 2, r"has 3 shards, one for each component .* got shards=2"),
        ("", 2, "got shards=2"),
        ("auto", 2, "leave out shards"),
    ],
)
def test_other_ways_are_refused_by_name(
    manifest: Path, strategy: str, shards: int | None, message: str
) -> None:
    add(manifest)
    publish("a")
    request = RunRequest("clip", wire_inputs(), strategy=strategy, shards=shards)
    with pytest.raises(InvalidRequest, match=message):
        creation.create_run(request)
    assert not Run.objects.exists()


def test_one_file_has_no_components(manifest: Path) -> None:
    model = registry.add_model(manifest.parent / "text.onnx", name="text")
    with pytest.raises(InvalidRequest, match="is one file, not made of components"):
        plans.ensure_plan(model, "component", None)


# --- runs ---------------------------------------------------------------------


def wire_inputs(**arrays: Any) -> list[tensors.WireTensor]:
    return [tensors.encode_array(key, array) for key, array in (arrays or question()).items()]


def started(manifest: Path, **wishes: Any) -> Run:
    add(manifest)
    publish("a")
    publish("b")
    return creation.create_run(RunRequest("clip", wire_inputs(), **wishes))


def claimed(run: Run, index: int) -> RunStep:
    row = run.shards.get(index=index)
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    return shard


def compute(shard: RunStep) -> None:
    """Play the worker, with onnxruntime for the browser."""
    given = tensors.fetch(claims.input_refs(shard))
    arrays = {tensor.name: tensors.decode_array(tensor) for tensor in given}
    made = reference(path_of(shard.plan_step.sha256), arrays)
    outputs = [tensors.encode_array(name, array) for name, array in made.items()]
    refs = tensors.store(shard.run_id, outputs)
    named = {tensor.name: ref for tensor, ref in zip(outputs, refs, strict=True)}
    facts = AttemptFacts(shard.browser, timezone.now())
    assert results.record_success(shard, named, facts)


def states(run: Run) -> list[str]:
    return list(run.shards.order_by("index").values_list("state", flat=True))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_answer_is_that_of_the_files_in_order(manifest: Path, order: tuple[int, int]) -> None:
    run = started(manifest)
    assert states(run) == [StepState.QUEUED, StepState.QUEUED, StepState.WAITING]
    encoders = run.shards.filter(index__lt=2)
    assert {row.browser for row in encoders} == {"a", "b"}, "they go to different browsers"
    compute(claimed(run, order[0]))
    assert states(run)[2] == StepState.WAITING
    compute(claimed(run, order[1]))
    assert states(run)[2] == StepState.QUEUED
    compute(claimed(run, 2))
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED
    (score,) = collect(run)
    expected = in_order(manifest, question())["score"]
    assert score.name == "score"
    assert abs(tensors.decode_array(score) - expected).max() < 1e-6


@pytest.mark.parametrize("name", ["clip", "whisper", "t5"])
def test_models_of_the_zoo_run_by_their_components(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(families.manifest(family.build(tmp_path))))
    inputs = family.example_inputs(seed=5)
    model = add(path, name, model_type=family.model_type)
    assert {port["name"] for port in model.inputs} == set(inputs)
    publish("a")
    publish("b")
    run = creation.create_run(RunRequest(name, wire_inputs(**inputs)))
    for index in range(len(model.components)):
        compute(claimed(run, index))
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED
    got = {tensor.name: tensors.decode_array(tensor) for tensor in collect(run)}
    expected = in_order(path, inputs)
    assert set(got) == set(expected)
    assert all(equal(got[key], array) for key, array in expected.items())


def test_the_chord_brings_what_the_ledger_has_made_ready(manifest: Path) -> None:
    run = started(manifest)
    fusion = run.shards.get(index=2)
    assert not dispatch.send_step(fusion.pk, 1), "too early: its inputs are not there"
    compute(claimed(run, 0))
    compute(claimed(run, 1))
    fusion.refresh_from_db()
    waiting = client().llen(f"browser.{fusion.browser}")
    assert dispatch.send_step(fusion.pk, fusion.fence)
    assert client().llen(f"browser.{fusion.browser}") == waiting + 1
    claimed(run, 2)
    assert not dispatch.send_step(fusion.pk, fusion.fence), "a second time: somebody has it"


def test_encoders_that_went_out_again_need_no_chord(manifest: Path) -> None:
    """One encoder is sent anew: its old chord cannot be trusted, so the recorder sends what follows."""
    run = started(manifest)
    assert redispatch.redispatch(run.shards.get(index=0))
    compute(claimed(run, 0))
    lengths = {name: client().llen(f"browser.{name}") for name in "ab"}
    compute(claimed(run, 1))
    fusion = run.shards.get(index=2)
    assert client().llen(f"browser.{fusion.browser}") == lengths[fusion.browser] + 1


def test_sizes_that_must_agree_are_checked_before_anything_runs(manifest: Path) -> None:
    add(manifest)
    publish("a")
    inputs = wire_inputs(words=question()["words"], pixels=question(rows=3)["pixels"])
    with pytest.raises(InvalidRequest, match="dimension 'batch' is 2 in 'words' but 3 in 'pixels'"):
        creation.create_run(RunRequest("clip", inputs))
    assert not PlanStep.objects.exists()


@pytest.mark.parametrize("of_several", [False, True])
def test_a_file_that_another_deletes_before_the_row_is_there_is_missed(
    manifest: Path, of_several: bool
) -> None:
    def delete_first(execute: Any, sql: str, *words: Any) -> Any:
        if sql.startswith(
            ("BEGIN", "SELECT pg_advisory")
        ):  # files are kept, the lock is not yet held
            for name in stored():
                path_of(name).unlink()
        return execute(sql, *words)

    one = next(manifest.parent.glob("*.onnx"))
    with (
        connection.execute_wrapper(delete_first),
        pytest.raises(InvalidRequest, match="was deleted meanwhile; try again"),
    ):
        if of_several:
            components.add_components(manifest.read_bytes(), manifest.parent, name="late")
        else:
            registry.add_model(one, name="late")
    assert not OnnxModel.objects.filter(name="late").exists()
