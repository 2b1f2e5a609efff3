"""Whisper and T5 on a running pool: encoder and decoder in different browsers, the uncut model's text."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from inference.sandbox.jobs import sound
from inference.zoo import listening
from tests.support import ctranslate2_folders, decoders, listeners
from tests.support.stack import RunningStack

TEXT = "A short text."


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, listeners.Written]:
    return listeners.write(tmp_path_factory.mktemp("listeners"))


@pytest.fixture(scope="module")
def client(pair: RunningStack, files: dict[str, listeners.Written]) -> Iterator[openai.OpenAI]:
    folder = str(files["hearer"].encoder.parent)
    code = f"from tests.support import listeners; listeners.register({folder!r})"
    pair.manage("shell", "-v0", "-c", code)
    words = pair.manage("create_api_key", f"listener-{os.getpid()}").stdout.split()
    key = next(word for word in words if word.startswith("wp_"))
    with openai.OpenAI(base_url=f"{pair.url}/v1", api_key=key, max_retries=0, timeout=180) as made:
        yield made


def places(pool: RunningStack, count: int) -> list[tuple[str, set[str]]]:
    """Of the last sessions: where the encoder was computed, and where the stages were."""
    code = (
        "import json; from inference.models import GenerationSession as S, RunStep as R;"
        f"rows = list(S.objects.all()[:{count}]);"
        "name = rows[0].decoder.encoder;"
        f"runs = list(R.objects.filter(run__model__name=name).order_by('-pk')[:{count}]);"
        "print(json.dumps([[sorted({r.browser for r in runs}), sorted(s.browser for s in row.stages.all())]"
        " for row in rows]))"
    )
    found = json.loads(pool.manage("shell", "-v0", "-c", code).stdout)
    return [(encoders[0] if len(encoders) == 1 else "several", set(b)) for encoders, b in found]


@pytest.mark.parametrize(("form", "rate"), [("WAV", 16_000), ("FLAC", 44_100)])
def test_a_sound_is_written_down(
    pair: RunningStack,
    client: openai.OpenAI,
    files: dict[str, listeners.Written],
    form: str,
    rate: int,
) -> None:
    raw, _ = listeners.sound(0.7, rate, form)
    heard: Any = sound.features({"file": np.frombuffer(raw, np.uint8)}, 8, 40, 9).arrays["features"]
    assert len(heard) == 2  # windows of 0.4 s
    room = listeners.CONTEXT - len(listeners.BEGINS)
    right = [
        listeners.greedy(files["hearer"], {"input_features": window[None]}, listeners.BEGINS, room)
        for window in heard
    ]
    assert right[0] != right[1]
    told = client.audio.transcriptions.create(model="hearer", file=(f"a.{form.lower()}", raw))
    assert told.text == "".join(right)


def test_no_more_than_two_windows_are_under_way(pair: RunningStack, client: openai.OpenAI) -> None:
    """When the third is begun to be heard, the first is written."""
    raw, _ = listeners.sound(1.8, 16_000, "WAV")
    client.audio.transcriptions.create(model="hearer", file=("a.wav", raw))
    code = (
        "import json; from inference.models import GenerationSession as S, Run as R;"
        "heard = list(R.objects.filter(model__name='hearer-encoder').order_by('-created_at')[:5])[::-1];"
        "print(json.dumps([S.objects.filter(model__name='hearer', created_at__gte=heard[0].created_at,"
        " created_at__lte=one.created_at).count() for one in heard]))"
    )
    written = json.loads(pair.manage("shell", "-v0", "-c", code).stdout)
    assert [begun >= index - 1 for index, begun in enumerate(written)] == [True] * 5, written


def test_the_command_writes_down_what_it_hears_and_reads(
    pair: RunningStack,
    client: openai.OpenAI,
    files: dict[str, listeners.Written],
    tmp_path: Path,
) -> None:
    raw, _ = listeners.sound(0.3, 16_000, "WAV")
    (tmp_path / "a.wav").write_bytes(raw)
    said = pair.manage("generate", "hearer", "--audio", str(tmp_path / "a.wav"), "--json").stdout
    told = json.loads(said)
    (window,) = told["windows"]
    heard: Any = sound.features({"file": np.frombuffer(raw, np.uint8)}, 8, 40, 1).arrays["features"]
    room = listeners.CONTEXT - len(listeners.BEGINS)
    assert told["text"] == listeners.greedy(
        files["hearer"], {"input_features": heard}, listeners.BEGINS, room
    )
    assert len(window["encoder"]) == 1
    assert window["encoder"][0] not in [stage["browser"] for stage in window["stages"]]
    ids = decoders.tokenizer().encode(TEXT).ids
    given = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    words = ("--prompt", TEXT, "--max-tokens", "8", "--shards", "2")
    assert pair.manage("generate", "reader", *words).stdout == (
        listeners.greedy(files["reader"], given, listeners.BEGINS, 8) + "\n"
    )


def test_encoder_and_decoder_are_in_different_browsers(
    pair: RunningStack, client: openai.OpenAI
) -> None:
    raw, _ = listeners.sound(0.3, 16_000, "WAV")
    client.audio.transcriptions.create(model="hearer", file=("a.wav", raw))
    ((encoder, stages),) = places(pair, 1)
    assert stages
    assert encoder not in stages


def test_a_text_is_read_and_written_also_when_a_browser_is_lost(
    pair: RunningStack, client: openai.OpenAI, files: dict[str, listeners.Written]
) -> None:
    ids = decoders.tokenizer().encode(TEXT).ids
    given = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    right = listeners.greedy(files["reader"], given, listeners.BEGINS, 20)
    asked: Any = {"model": "reader", "prompt": TEXT, "temperature": 0, "max_tokens": 20}
    asked |= {"extra_body": {"shards": 2}}
    whole = client.completions.create(**asked)
    assert whole.choices[0].text == right
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == len(ids)
    pieces: list[str] = []
    for event in client.completions.create(**asked, stream=True):
        if not pieces:
            os.kill(pair.pid(f"browser.{pair.browsers.split(',')[0]}"), signal.SIGKILL)
        pieces.append(event.choices[0].text)
    assert "".join(pieces) == right


def test_a_folder_of_faster_whisper_hears_as_its_weights_do(
    pair: RunningStack, client: openai.OpenAI, tmp_path: Path
) -> None:
    """With and without a list of tokens that are never written: of those that it would write."""
    plain = ctranslate2_folders.write(tmp_path / "spoken", listeners._WHISPER)
    raw, _ = listeners.sound(0.3, 16_000, "WAV")
    heard: Any = sound.features({"file": np.frombuffer(raw, np.uint8)}, 8, 40, 1).arrays["features"]
    begins = (ctranslate2_folders.START, ctranslate2_folders.SILENT)
    drawn = listening.whisper_graphs(listeners._WHISPER)
    files = listeners.Written(
        drawn["encoder"].save(tmp_path / "e.onnx"),
        drawn["decoder"].save(tmp_path / "d.onnx"),
        plain / "tokenizer.json",
    )

    def right(never: Sequence[int] = (), not_first: Sequence[int] = ()) -> list[int]:
        room = listeners.CONTEXT - len(begins)
        given = {"input_features": heard}
        return listeners.greedy_tokens(files, given, begins, room, never, not_first)

    def told(folder: Path) -> str:
        pair.manage("add_model", str(folder))
        return client.audio.transcriptions.create(
            model=folder.name, file=("a.wav", raw), extra_body={"shards": 2}
        ).text

    never = sorted({*right()[:3]})
    not_first = right(never)[:1]
    assert told(plain) == listeners.said(files, right()) != ""
    held = ctranslate2_folders.write(
        tmp_path / "held", listeners._WHISPER, never=never, not_first=not_first
    )
    text = listeners.said(files, right(never, not_first))
    assert told(held) == text != listeners.said(files, right(never))


def test_what_is_no_sound_is_refused(client: openai.OpenAI) -> None:
    def refusal(**fields: Any) -> Any:
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(**{"model": "hearer", **fields})
        body: Any = caught.value.body
        return body["param"]

    raw, _ = listeners.sound(0.1, 16_000, "WAV")
    good = ("a.wav", raw)
    assert refusal(file=("a.wav", b"RIFF, they say")) == "file"
    assert refusal(file=good, response_format="srt") == "response_format"
    assert refusal(file=good, language="en") == "language"
    assert refusal(file=good, timestamp_granularities=["word"]) is not None
    assert refusal(file=good, model="reader") == "model"
