"""One truth for failures: whoever shows, counts or answers one knows every category, and invents none."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import inference
import webpool_site
from browsers.bridge import StepRefused
from browsers.core.breaker import BreakerState
from browsers.core.breakers import Breakers
from browsers.core.errors import BY_CATEGORY
from browsers.core.failures import Blame, Category, Retry
from browsers.models import Incident
from history import vocabulary
from history.core import samples
from inference.errors import InvalidRequest, RunFailed, WebpoolError
from inference.models import Attempt, Run
from inference.models.batches import Batch
from inference.wire.openai.refusals import GenerationFailed, error_document
from inference.wire.serializers.errors import ErrorSerializer
from webpool_site.web import rpc

ROOT = Path(__file__).parents[2]
SAID_AS = {"category", "error_category", "error_type"}


def literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """Texts that are written down as a failure's category: as a keyword, a field, an attribute or a key."""
    for node in ast.walk(tree):
        found: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.keyword):
            found = [(node.arg or "", node.value)]
        elif isinstance(node, ast.Assign):
            found = [(name_of(target), node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            found = [(name_of(node.target), node.value)]
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
            found = [(str(key), value) for key, value in zip(keys, node.values, strict=True)]
        elif isinstance(node, ast.Compare):
            found = [(name_of(node.left), value) for value in node.comparators]
        for name, value in found:
            if name in SAID_AS and value is not None:
                yield from texts(value)


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def texts(value: ast.expr) -> Iterator[ast.Constant]:
    inner = [value]
    if isinstance(value, ast.IfExp):
        inner = [value.body, value.orelse]
    elif isinstance(value, ast.BoolOp):
        inner = value.values
    elif isinstance(value, (ast.Tuple, ast.List, ast.Set)):
        inner = value.elts
    for node in inner:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            yield node


def test_no_code_spells_a_category_by_hand() -> None:
    spelt = []
    for folder in ("browsers", "inference", "history", "webpool_site"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            spelt += [f"{path}:{node.lineno}: {node.value!r}" for node in literals(tree)]
    assert not spelt, "use browsers.core.failures.Category"


def test_a_category_spelt_by_hand_would_be_found() -> None:
    code = (
        "f(category='a')\nx.error_category = 'b' if y else z\ncategory: str = 'c'\n"
        "d = {'category': 'd'}\nif error.category in ('e',): pass\nq = {'about': 'no'}\n"
    )
    assert {node.value for node in literals(ast.parse(code))} == {"a", "b", "c", "d", "e"}


def test_the_page_and_the_worker_have_the_same_failures() -> None:
    page = (ROOT / "browsers/static/browsers/runtime/errors.js").read_text()
    declared = page[page.index("@typedef") : page.index("Code\n")]
    between_them = {"not_loaded", *StepRefused.CODES}
    assert set(re.findall(r"'(\w+)'", declared)) - between_them == set(BY_CATEGORY)
    assert all(error.category is category for category, error in BY_CATEGORY.items())


@pytest.mark.parametrize("category", Category)
def test_every_category_counts_against_what_it_says(category: Category) -> None:
    after = Breakers().failed(category, 5.0, sha256="ab")
    browser_is_well, model_is_well = after.browser.spotless, not after.models
    expected = {
        Blame.CRASH: (False, False),
        Blame.BROWSER: (False, False),
        Blame.MODEL: (True, False),
        Blame.NOBODY: (True, True),
    }
    assert (browser_is_well, model_is_well) == expected[category.blame]
    assert (after.state(5.0) is BreakerState.OPEN) == (category.blame is Blame.CRASH)


@pytest.mark.parametrize("category", Category)
def test_every_category_is_found_by_its_spelling_and_answers_for_itself(category: Category) -> None:
    assert Category.of(str(category)) is category
    failed = RunFailed("it failed", category=category, run_id="1")
    assert (failed.category, failed.status) == (category, category.status)
    assert 400 <= category.status < 600
    assert ErrorSerializer(data={"error": "it failed", "category": str(category)}).is_valid()


@pytest.mark.parametrize("category", Category)
def test_history_blames_for_every_category_whom_it_says(category: Category) -> None:
    blamed = Blame.BROWSER if category.blame is Blame.CRASH else category.blame
    assert vocabulary.blame_of(str(category)) is samples.Blame(str(blamed))


@pytest.mark.parametrize("category", Category)
def test_every_category_has_its_words_at_openais_door(category: Category) -> None:
    told = error_document(GenerationFailed("it ended", category), "it ended")["error"]
    assert told["code"] == category
    kind = "server_error" if category.status >= 500 else "invalid_request_error"
    if category.status == 429:
        kind = "rate_limit_error"
    elif category is Category.FORBIDDEN:
        kind = "permission_error"
    assert told["type"] == kind


@pytest.mark.parametrize("category", Category)
def test_every_category_has_a_code_of_grpc(category: Category) -> None:
    assert rpc.CODES[category.status] not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def test_what_is_no_category_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of connection, .*; got 'melted'"):
        Category.of("melted")
    assert not ErrorSerializer(data={"error": "it failed", "category": "melted"}).is_valid()


def test_every_row_has_room_for_every_category() -> None:
    longest = max(map(len, Category))
    for model, name in (
        (Run, "error_category"),
        (Attempt, "error_category"),
        (Batch, "error_category"),
        (Incident, "category"),
    ):
        column: Any = model._meta.get_field(name)
        assert column.max_length >= longest


def test_every_refusal_has_a_category_and_the_status_of_its_kind() -> None:
    for package in (inference, webpool_site):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name and not module.name.endswith((".asgi", ".wsgi")):
                importlib.import_module(module.name)
    kinds = list(subclasses(WebpoolError))
    assert len(kinds) > 15
    for kind in kinds:
        assert isinstance(kind.category, Category), kind
        if issubclass(kind, InvalidRequest):
            assert 400 <= kind.status < 500, kind
        else:
            assert kind.status // 100 == kind.category.status // 100, kind


def subclasses(kind: type[WebpoolError]) -> Iterator[type[WebpoolError]]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_the_documentation_tells_every_category_with_what_follows() -> None:
    again = {
        Retry.HERE: "here once, then elsewhere",
        Retry.ELSEWHERE: "elsewhere",
        Retry.NEVER_HERE: "elsewhere, never here",
        Retry.NEVER: "never",
    }
    against = {
        Blame.CRASH: "browser at once, model",
        Blame.BROWSER: "browser, model",
        Blame.MODEL: "model there",
        Blame.NOBODY: "nobody",
    }
    text = (ROOT / "docs/recovery.md").read_text()
    table = text[text.index("| category |") :].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    told = {name: (*facts,) for name, _, *facts in rows}
    assert told == {
        f"`{it}`": (again[it.retry], against[it.blame], str(it.status)) for it in Category
    }
