"""Texts that are held to a form: whatever the logits, what is written has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

from inference import sandbox
from inference.catalog.texts import check_grammar
from inference.core.generation.asked import Asked, Ending
from inference.core.generation.sampled import Sampling, TopLogits
from inference.core.generation.sampling import draw
from inference.core.generation.stages import Decoder, Stage
from inference.core.generation.wording.grammar import Unfollowable, json_grammar
from inference.core.generation.writing import Writer
from inference.errors import InvalidRequest
from inference.generation.guide import SandboxedGuide
from inference.models import OnnxModel
from tests.support import decoders

SCHEMA: Any = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 3},
        "kind": {"enum": ["round", "square"]},
    },
    "required": ["name", "sizes", "kind"],
    "additionalProperties": False,
}
DECODER = Decoder(
    "x", 1, decoders.VOCABULARY, 10_000, (decoders.END,), "", {}, 1, Stage((), (), (), "logits")
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    decoders.tokenizer().save(str(path))
    return path


def writer(
    path: Path,
    schema: Any,
    never: Sequence[int] = (),
    not_first: Sequence[int] = (),
    **sampling: Any,
) -> Writer:
    grammar = json_grammar(schema)
    asked = Asked((1, 2), 2000, Sampling(**sampling), grammar=grammar)
    return Writer(
        asked, context=10_000, vocabulary=decoders.VOCABULARY, stop_tokens=(decoders.END,),
        suppress_tokens=never, begin_suppress_tokens=not_first,
        guide=SandboxedGuide(path, DECODER, grammar),
    )  # fmt: skip


def written(one: Writer, rows: np.random.Generator) -> tuple[str, Ending | None]:
    """What it writes of random logits, and why it ends."""
    ending = None
    while ending is None:
        row = rows.standard_normal(decoders.VOCABULARY).astype(np.float32)
        ending = one.write(len(one.written), [TopLogits.of_row(row)]).ending
    return decoders.tokenizer().decode(one.written), ending


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_random_logits_write_json_by_its_schema(path: Path, temperature: float) -> None:
    for seed in range(5):
        one = writer(path, SCHEMA, temperature=temperature, seed=seed)
        text, ending = written(one, np.random.default_rng(seed))
        assert ending is Ending.STOP
        jsonschema_rs.validate(SCHEMA, json.loads(text))


def test_who_draws_it_again_draws_the_same(path: Path) -> None:
    texts = {
        written(writer(path, SCHEMA, temperature=1.0, seed=7), np.random.default_rng(1))
        for _ in range(2)
    }
    assert len(texts) == 1


def test_a_model_that_wants_nothing_but_spaces_comes_to_an_end(path: Path) -> None:
    one = writer(path, SCHEMA)
    row = np.zeros(decoders.VOCABULARY, np.float32)
    row[decoders.tokenizer().encode(" ").ids] = 9
    ending = None
    while ending is None:
        ending = one.write(len(one.written), [TopLogits.of_row(row)]).ending
    jsonschema_rs.validate(SCHEMA, json.loads(decoders.tokenizer().decode(one.written)))


def test_every_logit_is_asked_for_because_no_allowed_one_may_be_large(path: Path) -> None:
    one = writer(path, SCHEMA)
    assert one.needs(0) == one.needs(1) == 0
    brace = decoders.tokenizer().encode("{").ids[0]
    row = np.arange(decoders.VOCABULARY, dtype=np.float32)
    row[brace] = -100  # the smallest
    assert one.write(0, [TopLogits.of_row(row)]).picks[0].token == brace
    with pytest.raises(ValueError, match="all of the largest logits"):
        draw(TopLogits.of_row(row, 5), Sampling(), 2, [], [1], np.ones(decoders.VOCABULARY, bool))
    row[brace] = -np.inf
    with pytest.raises(ValueError, match="no token that may come"):
        writer(path, SCHEMA).write(0, [TopLogits.of_row(row)])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_form_and_what_is_never_written_hold_both(path: Path, temperature: float) -> None:
    one, two, three = (decoders.tokenizer().encode(digit).ids[0] for digit in "123")
    schema = {"enum": [11, 21, 31]}
    for seed in range(8):
        rows = np.random.default_rng(seed)
        held = writer(path, schema, (three,), (one,), temperature=temperature, seed=seed)
        assert written(held, rows) == ("21", Ending.STOP)
    with pytest.raises(Unfollowable, match=r"token 0 of the text: .* that the model never writes"):
        written(writer(path, schema, (two, three), (one,)), rows)
    with pytest.raises(Unfollowable, match=r"token 1 of the text: .* that the model never writes"):
        written(writer(path, schema, (one,)), rows)


def test_a_form_that_does_not_take_what_was_written_is_not_tried_elsewhere(path: Path) -> None:
    guide = SandboxedGuide(path, DECODER, json_grammar({"enum": [11]}))
    (two,) = decoders.tokenizer().encode("2").ids
    with pytest.raises(Unfollowable, match="the form that was asked for: "):
        guide.take(two)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "colour"}, "colour"),
        ({"$ref": "https://example.org/schema"}, "retriev"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "inimum"),
        ({"$ref": "#"}, r"^no text can have it \(NoExtensionBias\)$"),
    ],
)
def test_a_form_that_cannot_be_followed_is_refused(path: Path, schema: Any, why: str) -> None:
    with pytest.raises(sandbox.Refused, match=why):
        SandboxedGuide(path, DECODER, json_grammar(schema))


@pytest.mark.parametrize("pattern", ["^a{1000000000}$", f"^{'(' * 6}a{'{100})' * 6}$"])
def test_a_pattern_that_takes_too_much_is_told_in_one_line(path: Path, pattern: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": pattern}},
        "required": ["a"],
    }
    with pytest.raises(Unfollowable, match=r"^the form that was asked for: lexer error: .{1,300}$"):
        written(writer(path, schema), np.random.default_rng(0))


def test_a_form_of_any_length_is_not_kept() -> None:
    """Whether an answer's form or its tools' asked for it."""
    model = OnnxModel(name="m", tokenizer="0" * 64)
    with pytest.raises(InvalidRequest, match="at most 65536 characters together, got 65537"):
        check_grammar(model, DECODER, "x" * 65537)
