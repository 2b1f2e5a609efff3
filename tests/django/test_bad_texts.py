"""Texts that cannot be written are refused before anything is loaded: by the command and by /v1, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from django.core.management import CommandError, call_command

from inference.catalog import registry
from inference.checkpoints.described import Described
from inference.models import GenerationSession, OnnxModel, Run
from inference.zoo import micro
from tests.support import decoders, listeners
from tests.support.asgi import ask

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LONG = [1] * 300
USER = {"role": "user", "content": "x"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    decoders.write(folder)
    listeners.write(folder)
    decoders.tokenizer().save(str(folder / "tokenizer.json"))
    micro.chain(folder / "chain.onnx")
    return folder


@pytest.fixture(scope="module")
def models(folder: Path, database: None, valkey: Any) -> None:
    words = folder / "tokenizer.json"
    for name, template in (("teller", decoders.CHAT_TEMPLATE), ("looper", LOOP), ("plain", "")):
        described = Described(chat_template=template, special=decoders.SPECIAL)
        registry.add_model(folder / "model.onnx", name=name, tokenizer=words, described=described)
    listeners.register(str(folder))
    registry.add_model(folder / "chain.onnx", name="chain")


@pytest.fixture(autouse=True)
def nothing_is_begun(models: None, settings: Any) -> Iterator[None]:
    settings.WEBPOOL_TEMPLATE_SECONDS = 1.0
    yield
    assert not GenerationSession.objects.exists()
    assert not Run.objects.exists()


def by_v1(path: str, document: Any) -> tuple[str, str]:
    answer = ask("POST", f"/v1/{path}", json.dumps(document).encode())
    assert answer.status == 400, answer.body
    error = answer.json()["error"]
    return error["message"], error["param"]


def by_command(*words: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("generate", *words)
    return str(refused.value)


@pytest.mark.parametrize(
    ("model", "messages", "why", "param"),
    [
        ("teller", [{**USER, "role": "pirate"}], "role: expected system, developer", "messages"),
        ("teller", [{**USER, "content": 7}], "content: expected a text", "messages[0].content"),
        ("teller", {"role": "user"}, "expected a list of 1 to 4096 messages", "messages"),
        ("teller", [3], "messages[0]: expected an object", "messages[0]"),
        ("teller", [{"role": "user", "content": "x" * 300}], "context", "messages"),
        ("looper", [USER], "chat template was stopped", "messages"),
        ("plain", [USER], "has no chat template", "model"),
        ("chain", [USER], "its graph has no cache of keys and values", "model"),
    ],
)  # fmt: skip
def test_a_chat_that_cannot_be_told(
    model: str, messages: Any, why: str, param: str, tmp_path: Path
) -> None:
    said, blamed = by_v1("chat/completions", {"model": model, "messages": messages})
    assert why in said
    assert blamed == param
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(messages))
    assert why in by_command(model, "--chat", str(file))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("teller", "--tokens", ",".join(map(str, LONG))), "the prompt has 300 tokens"),
        (("teller", "--tokens", "1,x"), "expected 1,2,3"),
        (("teller", "--tokens", "512"), "expected ids from 0 up to and without 512"),
        (
            ("teller", "--prompt", "x", "--max-tokens", "0"),
            "max_tokens: expected a whole number from 1",
        ),
        (
            ("teller", "--prompt", "x", "--temperature", "-1"),
            "temperature: expected a number from 0 to 2",
        ),
        (
            ("teller", "--prompt", "x", "--top-p", "nan"),
            "top_p: expected a number from 0 to 1, got nan",
        ),
        (("teller", "--prompt", "x", "--seed", "9" * 30), "seed: expected a whole number from -9"),
        (("teller", "--prompt", "x", "--standbys", "99"), "standbys: expected a whole number"),
        (("teller", "--prompt", "x", "--shards", "0"), "shards: expected a whole number from 1"),
        (
            ("teller", "--prompt", "x", "--platform", "webnn"),
            "platform: expected one of wasm, webgpu",
        ),
        (("teller", "--prompt", "x", "--stop", ""), "stop: expected a text, or a list"),
        (("teller", "--prompt", "x", "--language", "en"), "--language goes with --audio"),
        (("teller", "--audio", __file__), "hears no sound"),
        (("reader", "--audio", __file__), "hears no sound"),
        (("reader", "--prompt", ""), "at least one token"),
        (("hearer", "--prompt", "x"), "listens to sound; use --audio"),
        (("hearer", "--audio", "/nowhere.wav"), "/nowhere.wav: No such file"),
        (("hearer", "--audio", __file__), "no WAV, FLAC, MP3 or Ogg that can be read: Format"),
        (("hearer", "--audio", __file__, "--language", "en"), "has no token for en"),
    ],
)
def test_a_command_that_cannot_be_carried_out(words: Sequence[str], why: str) -> None:
    assert why in by_command(*words)


def test_a_prompt_beyond_the_context() -> None:
    said, param = by_v1("completions", {"model": "teller", "prompt": LONG})
    assert (param, "context is 256 tokens" in said) == ("prompt", True)
    said, param = by_v1("completions", {"model": "teller", "prompt": [1], "max_tokens": 256})
    assert (param, "context is 256 tokens" in said) == ("max_tokens", True)


def test_a_folder_whose_graph_has_no_cache(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    onnx.save(onnx.load(folder / "chain.onnx"), tmp_path / "model.onnx")
    with pytest.raises(CommandError) as refused:
        call_command("add_model", tmp_path, "--name", "folder")
    assert str(refused.value) == (
        "model.onnx: this model (bert, by its config) cannot write text: its graph has no cache of keys and "
        "values: expected inputs such as past_key_values.0.key with outputs such as present.0.key, found the "
        "inputs x. A folder is added as a language model; add any other model by its .onnx file alone"
    )
    assert not OnnxModel.objects.filter(name="folder").exists()
