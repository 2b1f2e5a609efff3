"""README and docs do what they say: every snippet is run, part by part, as a reader would."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import prepared
from tests.support.doors import JSON, send
from tests.support.snippets import PAGES, Snippet, parts, run
from tests.support.stack import RunningStack

SNIPPETS = [each for page in PAGES for found in parts(page).values() for each in found]
_RUN = ("sh", "python", "js")
# What reads it is tests/django/test_documented.py, too; a block of no kind is what a command printed.
_READ = ("json", "nginx", "")
_PARTS = list(dict.fromkeys((each.page, each.part) for each in SNIPPETS))


def shown() -> Iterator[Any]:
    """Each part of a page that has something to run."""
    long = pytest.mark.soak("its commands are run by other tests, and their words are parsed")
    for page, part in _PARTS:
        if any(each.kind in _RUN and each.runs for each in of(page, part)):
            marks = [long] if page == "docs/operations.md" else []
            yield pytest.param(page, part, marks=marks, id=f"{page}: {part}")


def of(page: str, part: str) -> list[Snippet]:
    return [each for each in SNIPPETS if (each.page, each.part) == (page, part)]


@pytest.fixture(scope="module")
def key(stack: RunningStack) -> str:
    words = stack.manage("create_api_key", f"reader-{uuid.uuid4().hex[:6]}").stdout.split()
    return next(word for word in words if word.startswith("wp_"))


@pytest.fixture
def tidy(stack: RunningStack) -> Iterator[None]:
    """Models that a reader registers are gone afterwards: other parts give other ones the same names."""
    before = _models(stack)
    yield
    for name in sorted(_models(stack) - before):
        assert send(stack, "DELETE", f"/api/models/{name}/").status == 204


def _models(stack: RunningStack) -> set[str]:
    listed = send(stack, "GET", "/api/models/?limit=1000").json()
    return {each["name"] for each in listed["results"]}


@pytest.mark.parametrize(("page", "part"), shown())
def test_the_snippets_of_a_part_do_what_they_say(
    stack: RunningStack, tidy: None, key: str, tmp_path: Path, page: str, part: str
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    prepared.PREPARED.get((page, part), prepared.nothing)(folder, stack)
    for each in of(page, part):
        if each.runs and each.kind in _RUN:
            print(run(each, stack, key, folder))


def test_the_examples_of_the_schema_are_answered(stack: RunningStack) -> None:
    schema = send(stack, "GET", "/api/schema/?format=json").json()
    tried = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if example := content.get("application/json", {}).get("example"):
                to = path.replace("{name}", "minilm")
                answer = send(stack, method.upper(), to, json.dumps(example), JSON)
                assert answer.status in (200, 202), answer.body
                tried.append(to)
    assert sorted(tried) == [
        "/api/plans/", "/api/runs/", "/v1/embeddings", "/v2/models/minilm/infer",
    ]  # fmt: skip


def test_what_is_not_run_says_why_and_is_the_smaller_part() -> None:
    run_here = [each for each in SNIPPETS if each.kind in _RUN and each.runs]
    told = [each for each in SNIPPETS if each.why]
    assert len(run_here) + len(told) + sum(each.kind in _READ for each in SNIPPETS) == len(SNIPPETS)
    assert len(run_here) >= 2 * len(told)
    assert set(_PARTS) >= prepared.PREPARED.keys()
