"""Decoders in the catalog: registered, cut into stages, with answers that are known."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from gguf import GGMLQuantizationType
from onnx import helper

from inference.catalog import decoders, known_answers, plans, registry
from inference.checkpoints.described import Described
from inference.core.generation.asked import Asked
from inference.core.generation.stages import Decoder, Stage, stages_in_order
from inference.errors import InvalidRequest
from inference.generation import placing
from inference.graph.decoding.reference import Native
from inference.graph.runtime import session
from inference.models import OnnxModel, PlanStep
from inference.store.files import files_dir, path_of
from inference.store.tensors import decode_array, encode_array
from inference.zoo import decoder, micro
from tests.support import ctranslate2_folders, decoder_exports, gguf_files, listening_exports
from tests.support import decoders as tiny
from tests.support.listeners import _WHISPER

pytestmark = pytest.mark.django_db

DESCRIBED = Described(
    architecture="llama",
    context=200,
    stop_tokens=(tiny.END,),
    chat_template=tiny.CHAT_TEMPLATE,
    special=tiny.SPECIAL,
)


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    written = tiny.write(tmp_path)
    return registry.add_model(
        written.onnx, name="tiny", tokenizer=written.tokenizer, described=DESCRIBED
    )


def test_what_is_known_of_a_decoder_is_kept(model: OnnxModel) -> None:
    found = Decoder.from_json(OnnxModel.objects.get(name="tiny").decoder or {})
    assert found == decoders.decoder_of(model)
    assert (found.layers, found.vocabulary, found.context) == (4, 512, 200)
    assert (found.stop_tokens, found.special) == ((tiny.END,), tiny.SPECIAL)
    assert len(found.whole.states) == 8


@pytest.mark.parametrize("stages", [1, 3])
def test_stages_write_what_the_uncut_model_writes(model: OnnxModel, stages: int) -> None:
    plan = decoders.plan_for(model, stages)
    assert decoders.plan_for(model, stages) == plan
    steps = plans.steps_of(plan)
    cut = stages_in_order([step.stage or {} for step in steps])
    native = Native([(path_of(s.sha256), stage) for s, stage in zip(steps, cut, strict=True)])
    prompt = list(b"once upon")
    assert native.greedy(prompt, 12) == tiny.greedy(path_of(model.sha256), prompt, 12)
    assert [step.depends_on for step in steps] == [[], [0], [1]][:stages]
    known = decoders.decoder_of(model)
    planned = [placing.cache_mb(stage, known, Asked(tuple(prompt), 12)) for stage in cut]
    assert sum(planned) == pytest.approx(4 * known.state_bytes * (len(prompt) + 12) / 1e6)


def test_every_stages_answers_are_known(model: OnnxModel) -> None:
    steps = plans.steps_of(decoders.plan_for(model, 2))
    whole = plans.steps_of(plans.ensure_plan(model, "none", 1))
    for step in [*steps, *whole]:
        _check_known(step)


def _check_known(step: PlanStep) -> None:
    """One answer to a prompt and two to a token after a past, each consistent; onnxruntime gives them."""
    known = known_answers.known(step.sha256)
    assert (known.why_none, known.constant) == ("", ())
    runtime = session(str(path_of(step.sha256)))
    names = [item.name for item in runtime.get_outputs()]
    state = Stage.from_json(step.stage or {}).states[0].past
    pasts = []
    for answer in known.answers:
        given = {tensor.name: decode_array(tensor) for tensor in answer.inputs}
        pasts.append(given[state].shape[2])
        assert given["attention_mask"].shape[1] == pasts[-1] + given["position_ids"].shape[1]
        assert given["position_ids"][0, 0] == pasts[-1]
        right = [
            encode_array(name, array)
            for name, array in zip(names, runtime.run(names, given), strict=True)
        ]
        assert not known.wrong(answer, right)
    assert pasts == [0, 3, 5]


def test_a_merged_export_is_one_branch_in_every_plan(tmp_path: Path) -> None:
    onnx.save(decoder_exports.merged(decoder_exports.optimum()), tmp_path / "m.onnx")
    model = registry.add_model(tmp_path / "m.onnx", name="merged", described=Described(context=100))
    uncut = session(str(path_of(model.sha256)))
    assert "use_cache_branch" in {item.name for item in uncut.get_inputs()}
    (step,) = plans.steps_of(decoders.plan_for(model, 1))
    assert step.sha256 != model.sha256
    assert "use_cache_branch" not in {port["name"] for port in step.inputs}
    assert not known_answers.known(step.sha256).why_none


def test_more_stages_than_layers_are_refused(model: OnnxModel) -> None:
    with pytest.raises(InvalidRequest, match="at most 4"):
        decoders.plan_for(model, 5)


def test_a_model_without_a_cache_writes_no_text(tmp_path: Path) -> None:
    chain = micro.chain(tmp_path / "chain.onnx", layers=2, size=4)
    model = registry.add_model(chain, name="chain")
    assert model.decoder is None
    with pytest.raises(InvalidRequest, match="writes no text: its graph has no cache"):
        decoders.plan_for(model, 1)
    with pytest.raises(InvalidRequest, match="no cache of keys and values"):
        registry.add_model(chain, name="described", described=DESCRIBED)


def test_a_decoder_of_unknown_context_is_registered_and_writes_no_text(tmp_path: Path) -> None:
    onnx.save(decoder_exports.optimum(), tmp_path / "m.onnx")
    model = registry.add_model(tmp_path / "m.onnx", name="unknown")
    with pytest.raises(InvalidRequest, match="nothing tells how many positions it may hold"):
        decoders.plan_for(model, 1)


def test_a_decoders_ordinary_runs_stay(model: OnnxModel) -> None:
    (step,) = plans.steps_of(plans.ensure_plan(model, "none", 1))
    assert step.sha256 == model.sha256
    assert Stage.from_json(step.stage or {}) == decoders.decoder_of(model).whole
    assert {port["name"] for port in step.outputs} >= {"logits", "present.3.value"}
    assert np.dtype("float32").itemsize * 4 * 2 * 2 * 16 == decoders.decoder_of(model).state_bytes


def test_the_graphs_own_tables_bound_the_context(tmp_path: Path) -> None:
    path = decoder.tiny(1).save(tmp_path / "m.onnx")
    model = registry.add_model(path, name="tables", described=Described(context=100_000))
    assert decoders.decoder_of(model).context == tiny.CONTEXT


def test_add_model_takes_a_gguf_file_and_says_what_it_found(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "Small-Llama.Q8_0.gguf", GGMLQuantizationType.Q8_0)
    said = StringIO()
    call_command("add_model", path, stdout=said)
    assert "writes text: llama of 2 layers, 4 states" in said.getvalue()
    assert "a tokenizer, a chat template; tokens that end a text: 257" in said.getvalue()
    assert "weights held as they are: 15 Q8_0, 5 F32" in said.getvalue()
    model = OnnxModel.objects.get(name="Small-Llama-Q8_0")
    assert (model.model_type, bool(model.tokenizer)) == ("text", True)
    (first, second) = plans.steps_of(decoders.plan_for(model, 2))
    assert (first.stage or {})["hidden"] and (second.stage or {})["logits"]
    call_command("add_model", path, "--weights", "float32", "--name", "floats", stdout=said)
    floats = OnnxModel.objects.get(name="floats")
    assert floats.weight_bytes > 2 * model.weight_bytes
    natives = [
        Native([(path_of(one.sha256), decoders.decoder_of(one).whole)]) for one in (model, floats)
    ]
    got, wanted = (native.step([3, 1, 7]) for native in natives)
    np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_a_strangers_graph_that_looks_drawn_is_computed_alone(tmp_path: Path) -> None:
    """It has the inputs of one that is drawn here, and gives each row what the others say."""
    mixing = decoder.tiny().model()
    (logits,) = (node for node in mixing.graph.node if "logits" in node.output)
    logits.output[:] = ["own"]
    mixing.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["own"], ["of_all"], axes=[0], keepdims=1),
            helper.make_node("Add", ["own", "of_all"], ["logits"]),
        ]
    )
    onnx.save(mixing, tmp_path / "mixing.onnx")
    call_command("add_model", tmp_path / "mixing.onnx", stdout=StringIO())
    path = gguf_files.write(tmp_path / "drawn.gguf", GGMLQuantizationType.Q8_0)
    call_command("add_model", path, stdout=StringIO())
    known = {name: decoders.decoder_of(registry.get_model(name)) for name in ("mixing", "drawn")}
    assert all(one.whole.any_row for one in known.values()), "nothing in the file tells them apart"
    asked = Asked((1, 2, 3), 4, speculation=True)
    assert {name: placing.alike(asked, one) for name, one in known.items()} == {
        "mixing": False,
        "drawn": True,
    }
    assert not placing.speculates(asked, known["mixing"])


def test_add_model_takes_an_optimum_folder(tmp_path: Path) -> None:
    folder = tmp_path / "an export"
    folder.mkdir()
    onnx.save(decoder_exports.optimum(), folder / "model.onnx")
    (folder / "config.json").write_text('{"model_type": "gpt2", "n_positions": 99}')
    tiny.tokenizer().save(str(folder / "tokenizer.json"))
    call_command("add_model", folder, stdout=StringIO())
    model = OnnxModel.objects.get(name="an-export")
    assert (decoders.decoder_of(model).context, bool(model.tokenizer)) == (99, True)
    # The file alone is described by what lies beside it.
    call_command("add_model", folder / "model.onnx", "--name", "file", stdout=StringIO())
    assert decoders.decoder_of(OnnxModel.objects.get(name="file")).context == 99


def test_add_model_takes_an_encoder_and_a_decoder_of_one_folder(tmp_path: Path) -> None:
    folder = listening_exports.write(tmp_path / "tiny whisper", "whisper", merged=True)
    said = StringIO()
    call_command("add_model", folder, stdout=said)
    model = OnnxModel.objects.get(name="tiny-whisper")
    known = decoders.decoder_of(model)
    assert (known.encoder, known.begins, known.context) == ("tiny-whisper-encoder", (1, 2), 24)
    assert "what it listens to is made by the model tiny-whisper-encoder" in said.getvalue()
    assert "its texts begin with the tokens 1, 2" in said.getvalue()
    made = {port.name for port in registry.get_model(known.encoder).output_ports}
    assert made == set(known.whole.memory)
    call_command("add_model", folder, stdout=StringIO())
    assert OnnxModel.objects.count() == 2, "the same again"


def test_tokens_that_are_never_written_are_kept_and_told(tmp_path: Path) -> None:
    folder = listening_exports.write(tmp_path / "tiny whisper", "whisper", merged=True)
    config = json.loads((folder / "generation_config.json").read_text())
    lists = {"suppress_tokens": [5, 6], "begin_suppress_tokens": [-1, 7]}
    (folder / "generation_config.json").write_text(json.dumps({**config, **lists}))
    said = StringIO()
    call_command("add_model", folder, stdout=said)
    known = decoders.decoder_of(registry.get_model("tiny-whisper"))
    assert (known.suppress_tokens, known.begin_suppress_tokens) == ((5, 6), (7,))
    assert "2 tokens are never written (suppress_tokens)" in said.getvalue()
    assert "begin_suppress_tokens has -1" in said.getvalue()
    # A file alone is described by what lies beside it.
    alone = tiny.write(tmp_path).onnx
    (tmp_path / "config.json").write_text('{"suppress_tokens": [8]}')
    call_command("add_model", alone, "--name", "alone", stdout=StringIO())
    assert decoders.decoder_of(registry.get_model("alone")).suppress_tokens == (8,)


@pytest.mark.parametrize(
    ("never", "not_first", "why"),
    [
        ([tiny.VOCABULARY], [], "token 512 is listed as never written; expected ids from 0 up to"),
        ([], [9999], "token 9999 is listed"),
        ([*range(tiny.VOCABULARY - 1)], [511], "all of its tokens are listed as never written"),
        ([1.5], [], "suppress_ids: expected a list of tokens' ids"),
    ],
)
def test_a_list_of_them_that_cannot_be_is_refused(
    tmp_path: Path, never: list[Any], not_first: list[int], why: str
) -> None:
    folder = ctranslate2_folders.write(tmp_path / "bad", _WHISPER, never=never, not_first=not_first)
    with pytest.raises(CommandError, match=why):
        call_command("add_model", folder, stdout=StringIO())
    assert not OnnxModel.objects.exists()


def test_of_a_folder_whose_decoder_is_refused_nothing_is_kept(tmp_path: Path) -> None:
    folder = listening_exports.write(tmp_path / "t5", "t5", merged=False)
    (folder / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(CommandError, match="nothing tells how many positions"):
        call_command("add_model", folder, stdout=StringIO())
    assert not OnnxModel.objects.exists()


@pytest.mark.parametrize("kept", [0, 100, 30_000])
def test_a_gguf_file_cut_short_is_refused_and_nothing_is_kept(kept: int, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", GGMLQuantizationType.Q8_0)
    path.write_bytes(path.read_bytes()[:kept])
    before = set(files_dir().iterdir()) if files_dir().exists() else set()
    with pytest.raises(CommandError, match=r"m.gguf: .*(truncated or damaged|is empty)"):
        call_command("add_model", path, stdout=StringIO())
    assert not OnnxModel.objects.exists()
    assert set(files_dir().iterdir() if files_dir().exists() else ()) == before


def test_a_folder_in_which_nothing_is_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="expected a GGUF file, or a folder with"):
        call_command("add_model", tmp_path, stdout=StringIO())
