"""Tokens that are never written, as Hugging Face and CTranslate2 list them: read, told, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.checkpoints.described import Described
from inference.checkpoints.reading import Kind, made
from inference.checkpoints.suppressed import suppressed
from tests.support import ctranslate2_folders, listening_exports
from tests.support.listeners import _WHISPER


def described(folder: Path, kind: Kind) -> Described:
    out = folder.parent / "out"
    out.mkdir()
    return made(folder, kind, out, floats=False, tokenizer=True).described


def test_hugging_face_s_lists_are_read(tmp_path: Path) -> None:
    """What generation_config.json says counts before config.json."""
    folder = listening_exports.write(tmp_path / "in", "whisper", merged=True)
    for name, lists in (
        ("config.json", {"suppress_tokens": [7], "begin_suppress_tokens": [220, 257]}),
        ("generation_config.json", {"suppress_tokens": [9, 3, 9]}),
    ):
        known = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**known, **lists}))
    words = described(folder, Kind.OPTIMUM)
    assert (words.suppress_tokens, words.begin_suppress_tokens) == ((3, 9), (220, 257))
    assert words.notes[:2] == (
        "2 tokens are never written (suppress_tokens)",
        "2 tokens are not written as a text's first one (begin_suppress_tokens)",
    )
    assert Described.from_json(json.loads(json.dumps(words.to_json()))) == words


def test_ctranslate2_s_lists_are_read(tmp_path: Path) -> None:
    folder = ctranslate2_folders.write(tmp_path / "in", _WHISPER, never=[5], not_first=[6, 257])
    words = described(folder, Kind.CTRANSLATE2)
    assert (words.suppress_tokens, words.begin_suppress_tokens) == ((5,), (6, 257))
    assert "1 token is never written (suppress_ids)" in words.notes
    assert "2 tokens are not written as a text's first one (suppress_ids_begin)" in words.notes


@pytest.mark.parametrize("document", [{}, {"a": None, "b": None}, {"a": [], "b": []}])
def test_no_list_is_an_empty_one_of_which_nothing_is_told(document: Any) -> None:
    found = suppressed(document, "a", "b")
    assert (found.tokens, found.first, found.notes) == ((), (), ())


def test_a_list_that_is_only_named_is_said_to_be_left_out() -> None:
    found = suppressed({"a": [-1, 4], "b": [-1]}, "a", "b")
    assert (found.tokens, found.first) == ((4,), ())
    assert found.notes[0] == "1 token is never written (a)"
    assert [note[:8] for note in found.notes[1:]] == ["a has -1", "b has -1"]


@pytest.mark.parametrize(
    "wrong", [3, "3", [1.0], [True], ["<|en|>"], [None], [-2], [[1]], {"1": 1}]
)
def test_what_is_no_list_of_tokens_is_refused(wrong: Any) -> None:
    for document in ({"a": wrong}, {"b": wrong}):
        with pytest.raises(ValueError, match=r"[ab]: expected a list of tokens' ids, got"):
            suppressed(document, "a", "b")
