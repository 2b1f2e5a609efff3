"""Tokenizers and chat templates of models that write: read in the sandbox, held to their limits."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from inference.catalog.texts import Chat, Texts
from inference.core.generation.wording.detokenize import Text
from inference.errors import InvalidRequest
from inference.sandbox.helper import helper
from tests.support.doors import wait_for

TEXT = "naïve façade — €5,  a\n\n日本語 🙂👩‍🔬 <end> tail"
CHATML = """\
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>' + message['content'] + '<end>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}"""


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        ["a tail of tails"] * 3,
        trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False),
    )
    return made


def pieces() -> Tokenizer:
    """As Llama 2 and Gemma have it: spaces are ▁, unknown characters fall back to bytes."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocabulary |= {
        piece: 256 + at for at, piece in enumerate(["▁", "t", "a", "i", "l", "ta", "il"])
    }
    made = Tokenizer(models.BPE(vocabulary, [("t", "a"), ("i", "l")], byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made


def unigram() -> Tokenizer:
    scored = [("<unk>", 0.0), *((piece, -1.0) for piece in ("▁", "▁tail", "a", "t", "i", "l"))]
    made = Tokenizer(models.Unigram(scored, 0, False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made


def saved(tokenizer: Tokenizer, path: Path) -> Path:
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize("make", [byte_level, pieces])
def test_text_goes_to_tokens_and_comes_back_token_by_token(make: Any, tmp_path: Path) -> None:
    tokenizer = make()
    texts = Texts(saved(tokenizer, tmp_path / "tokenizer.json"))
    ids = texts.encode(TEXT, special=False)
    assert ids == tokenizer.encode(TEXT).ids
    text = Text(texts.vocabulary)
    assert "".join(map(text.add, ids)) + text.end() == TEXT.replace("<end>", "")
    assert texts.vocabulary.bytes_of(tokenizer.token_to_id("<end>")) == b"<end>"


def test_a_text_that_goes_on_keeps_its_first_space(tmp_path: Path) -> None:
    texts = Texts(saved(unigram(), tmp_path / "tokenizer.json"))
    text = Text(texts.vocabulary)
    assert "".join(map(text.add, texts.encode("tail tail", special=False))) == " tail tail"


def test_a_prompt_is_neither_cut_nor_padded(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    texts = Texts(saved(tokenizer, tmp_path / "tokenizer.json"))
    assert len(texts.encode("xyz" * 2000, special=False)) == 6000
    assert texts.encode("", special=False) == []


def test_texts_are_asked_by_many_threads(tmp_path: Path) -> None:
    texts = Texts(saved(byte_level(), tmp_path / "tokenizer.json"))
    got: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        got[number] = texts.encode("x" * number, special=False)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert {number: len(ids) for number, ids in got.items()} == {n: n for n in range(1, 9)}


def broken(document: dict[str, Any]) -> None:
    document["model"]["vocab"] = {"a": 2**40}


def foreign(document: dict[str, Any]) -> None:
    document["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}


def lying(document: dict[str, Any]) -> None:
    document["decoder"] = {
        "type": "Sequence",
        "decoders": [{"type": "ByteLevel"}, {"type": "Fuse"}],
    }
    document["decoder"]["decoders"].append({"type": "Strip", "content": "o", "start": 0, "stop": 1})


@pytest.mark.parametrize("spoil", [broken, foreign, lying])
def test_a_tokenizer_whose_text_would_be_wrong_is_refused(spoil: Any, tmp_path: Path) -> None:
    path = saved(byte_level(), tmp_path / "tokenizer.json")
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidRequest, match="tokens could not become text"):
        _ = Texts(path).vocabulary


def ask(template: str, content: str = "hi", **more: Any) -> str:
    return Chat(template, {"bos_token": "<s>"}).render([{"role": "user", "content": content}], more)


def test_a_chat_becomes_the_text_that_its_template_makes() -> None:
    assert ask(CHATML) == "<|user|>hi<end>\n<|assistant|>"
    assert ask("{{ bos_token }}{{ messages[0].content | trim }}", " é ") == "<s>é"
    assert ask("{{ messages | tojson }}", "<é>") == '[{"role": "user", "content": "<é>"}]'
    assert ask("{{ strftime_now('%Y')[:2] }}") == "20"
    assert ask("{% generation %}{{ messages[0].role }}{% endgeneration %}") == "user"
    assert (
        ask("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}")
        == "1"
    )
    assert ask("{% if thinks %}yes{% else %}no{% endif %}", thinks=True) == "yes"
    assert ask("{% if tools is none %}none{% endif %}") == "none"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "no Jinja template"),
        ("{{ messages[7].content.x }}", "UndefinedError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
        ("{% for i in range(99999) %}" + "x" * 99 + "{% endfor %}", "more than 4194304 characters"),
        ("{{ messages | tojson(indent=10**9) }}", "expected an indent"),
    ],
)
def test_what_a_template_refuses_is_told_in_its_own_words(template: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match="chat template refuses these messages") as caught:
        ask(template)
    assert words in str(caught.value)


def test_a_role_that_nobody_knows_is_refused() -> None:
    """Templates leave such messages out without a word."""
    template = (
        "{% for m in messages if m.role == 'ipython' or m.role == 'user' %}{{ m.role }}{% endfor %}"
    )
    chat = Chat(template, {})
    told = [{"role": "user", "content": "a"}, {"role": "ipython", "content": "b"}]
    assert chat.render(told, {}) == "useripython"
    with pytest.raises(
        InvalidRequest, match=r"messages\[1\].role: expected system, .* got 'pirate'"
    ):
        chat.render([told[0], {"role": "pirate", "content": "b"}], {})


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("template", [LOOP, "{{ 'x' * 10**9 }}", "{{ 10 ** (10 ** 9) }}"])
def test_a_template_that_loops_or_grows_is_stopped(template: str, settings: Any) -> None:
    settings.WEBPOOL_TEMPLATE_SECONDS = 2.0
    with pytest.raises(InvalidRequest, match="chat template was stopped"):
        ask(template)
    settings.WEBPOOL_TEMPLATE_SECONDS = 180.0
    assert ask(CHATML).startswith("<|user|>")


def test_a_child_that_ended_between_two_questions_is_nobody_s_refusal(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    byte_level().save(str(path))
    texts = Texts(path)
    before = texts.encode("a tail", special=False)
    gone = psutil.Process(helper().pid)
    gone.kill()
    gone.wait(60)
    assert wait_for(lambda: texts._job._session is None or texts._job._session.ended())
    assert texts.encode("a tail", special=False) == before


def test_a_child_that_has_grown_is_ended_after_its_answer(tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "tokenizer.json"
    byte_level().save(str(path))
    settings.WEBPOOL_SANDBOX_MEMORY_MB = 600
    texts, others = Texts(path), psutil.Process(helper().pid)
    before = set(others.children())
    few = texts.encode("a tail", special=False)
    (mine,) = set(others.children()) - before
    assert texts.encode("a tail", special=False) == few
    assert set(others.children()) - before == {mine}, "it is kept for the next text"
    long = texts.encode("a tail of tails " * 120_000, special=False)
    psutil.wait_procs([mine], 60)
    assert not mine.is_running(), "it held hundreds of MB"
    assert texts.encode("a tail of tails " * 120_000, special=False) == long
    assert texts.encode("a tail", special=False) == few
