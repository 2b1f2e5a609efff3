"""Text to the inputs that a model has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from inference.catalog.tokenizer import Tokenizer
from inference.errors import InvalidRequest


@pytest.fixture
def words(tmp_path: Path) -> Path:
    made = RustTokenizer(WordLevel({"one": 0, "two": 1, "?": 2, "<pad>": 3}, unk_token="?"))
    made.pre_tokenizer = Whitespace()
    made.enable_truncation(4)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_texts_are_padded_to_the_longest_and_cut_at_the_limit(words: Path) -> None:
    tokens = Tokenizer(words, ["input_ids", "attention_mask"]).encode(["one", "two " * 9, "one x"])
    assert {name: array.dtype for name, array in tokens.items()} == {
        "input_ids": np.int64,
        "attention_mask": np.int64,
    }
    assert tokens["input_ids"].tolist() == [[0, 3, 3, 3], [1, 1, 1, 1], [0, 2, 3, 3]]
    assert tokens["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]


def test_only_the_models_own_inputs_are_made(words: Path) -> None:
    assert set(Tokenizer(words, ["input_ids", "pixels"]).encode(["one"])) == {"input_ids"}
    with pytest.raises(InvalidRequest, match="pixels"):
        Tokenizer(words, ["pixels"])


@pytest.mark.parametrize("texts", [[], [1], ["one", None]])
def test_what_is_no_text_is_refused(texts: list[object], words: Path) -> None:
    with pytest.raises(InvalidRequest, match="at least one text"):
        Tokenizer(words, ["input_ids"]).encode(texts)  # type: ignore[arg-type]


def test_text_that_has_no_form_in_utf8_is_refused(words: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"text 1: .*'\\ud800' as its character 2"):
        Tokenizer(words, ["input_ids"]).encode(["one", "on\ud800"])


def test_a_tokenizer_is_stored_under_its_hash(words: Path, tmp_path: Path) -> None:
    sha256 = Tokenizer.store(words, tmp_path / "files")
    assert (tmp_path / "files" / sha256).read_bytes() == words.read_bytes()
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(ValueError, match=r"not a tokenizer\.json"):
        Tokenizer.store(bad, tmp_path / "files")
