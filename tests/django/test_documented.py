"""README and docs name what is there: commands, options, paths, settings; without running any of it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from django.urls import Resolver404, resolve

from inference.wire.openai.fields import Endpoint
from tests.support.asgi import ask
from tests.support.shared import ROOT
from tests.support.shell_words import Command, commands
from tests.support.snippets import PAGES, Snippet, parts

TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
SNIPPETS = [each for page in PAGES for found in parts(page).values() for each in found]
# What a reader puts something into: an id, a name, or what is left out.
_GAP = re.compile(r"[A-Z]{2,}|(?<!health/)…|<[^>]*>|\{[^}]*\}")
_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_ELSEWHERE = frozenset({"pip", "optimum-cli", "git", "tar", "createdb", "mkdir", "unzip", "cat"})


def shell() -> list[Any]:
    found = [each for each in SNIPPETS if each.kind == "sh"]
    return [pytest.param(each, id=f"{each.page}:{each.line}") for each in found]


def test_every_snippet_is_of_a_kind_that_is_looked_at_here() -> None:
    for page, text in TEXTS.items():
        found = [each for each in SNIPPETS if each.page == page]
        assert len(found) == text.count("```") // 2, (
            f"{page}: a snippet stands above the first part"
        )
    assert {each.kind for each in SNIPPETS} <= {"sh", "python", "json", "js", "nginx", ""}


@pytest.mark.parametrize("snippet", shell())
def test_a_snippet_of_shell_starts_what_is_there(
    database: None, snippet: Snippet, tmp_path: Path
) -> None:
    for command in commands(snippet.text, tmp_path):
        name, *words = command.words
        match name:
            case "manage.py":
                _parse(words)
            case "make":
                assert set(words) <= _TARGETS
            case "curl":
                _check_request(command)
            case _:
                assert name in _ELSEWHERE


def _parse(words: list[str]) -> None:
    """As `manage.py` would, with the command's own parser."""
    name, *rest = words
    assert name in get_commands(), f"manage.py has no {name}"
    app: Any = get_commands()[name]
    command = load_command_class(app, name) if isinstance(app, str) else app
    try:
        command.create_parser("manage.py", name).parse_args(rest)
    except CommandError as error:
        pytest.fail(f"manage.py {shlex.join(words)}: {error}")


def _check_request(command: Command) -> None:
    (address,) = (word for word in command.words if word.startswith("http://"))
    path = "/" + address.split("/", 3)[3].partition("?")[0]
    assert _is_answered(path), path
    if "-d" in command.words:
        sent = command.words[command.words.index("-d") + 1]
        assert "…" in sent or json.loads(sent)


def _is_answered(path: str) -> bool:
    """Whether anything is there, whatever it is called with."""
    path = _GAP.sub("0", path)
    if path.rstrip("/") in ("/api", "/v1"):  # all that is there
        return True
    if path.startswith("/v2"):
        path = path.replace("…", "live")
        return "is not part of" not in str(ask("ODD", path).body)
    if path.startswith("/v1"):
        return path in {one.value for one in Endpoint} or path.startswith("/v1/models")
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


@pytest.mark.parametrize("kind", ["python", "json"])
def test_a_snippet_can_be_read(kind: str) -> None:
    for snippet in SNIPPETS:
        if snippet.kind == kind == "python":
            compile(snippet.text, f"{snippet.page}:{snippet.line}", "exec")
        elif snippet.kind == kind:
            json.loads(snippet.text)


def spoken(pattern: str) -> dict[str, set[str]]:
    """What stands in running text between backticks, with the pages that say it."""
    found: dict[str, set[str]] = {}
    for page, text in TEXTS.items():
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        for said in re.findall(rf"`({pattern})`", prose):
            found.setdefault(said, set()).add(page)
    return found


def test_the_commands_of_the_text_have_the_options_it_names() -> None:
    wrong = {}
    for said, pages in spoken(r"(?:manage\.py|webpool) [a-z_]+[^`]*").items():
        _, names, *words = said.replace("[", " ").replace("]", " ").replace("-", "_").split()
        flags = {word.split("=")[0] for word in words if word.startswith("__")}
        for name in names.split("|"):
            if name not in get_commands() or flags - _flags(name):
                wrong[said] = pages
    assert not wrong


def _flags(name: str) -> set[str]:
    app: Any = get_commands()[name]
    command = load_command_class(app, name) if isinstance(app, str) else app
    parser: Any = command.create_parser("manage.py", name)
    return {flag.replace("-", "_") for flag in parser._option_string_actions}


def test_the_paths_of_the_text_are_answered(database: None) -> None:
    paths = spoken(r"(?:[A-Z]+ )?/(?:api|v1|v2|admin|metrics)[^\s`]*")
    wrong = {
        said: pages
        for said, pages in paths.items()
        if not _is_answered(said.rpartition(" ")[2].partition("?")[0])
    }
    assert not wrong


def test_the_settings_of_the_text_are_read_somewhere() -> None:
    code = "".join(
        path.read_text()
        for place in ("webpool_site", "inference", "browsers", "history", "tests")
        for path in (ROOT / place).rglob("*.py")
        if path.name != "test_documented.py"
    )
    known = set(re.findall(r"\bWEBPOOL_[A-Z0-9_]+\b", code))
    told = {
        (name, page)
        for page, text in TEXTS.items()
        for name in re.findall(r"\bWEBPOOL_[A-Z0-9_]+\b", text)
        if not any(each == name or (name[-1] == "_" and each.startswith(name)) for each in known)
    }
    assert not told
