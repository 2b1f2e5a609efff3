"""What holds wherever several machines write to one database, found by reading the code."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
APPS = ("webpool_site", "inference", "browsers", "history")
TRANSACTIONS = "inference/store/transactions.py"
_KINDS = frozenset({"of_run", "alone", "together"})
# Each begins a transaction of its own, and why nobody has to repeat it.
BARE = {
    "history/recording.py": "within the transaction of who deletes",
    "history/recompute.py": "the history worker is the only one that writes these tables",
    "webpool_site/doctor/services.py": "it is rolled back whatever comes",
    "webpool_site/lab/bench/history.py": "it is rolled back whatever comes",
    "webpool_site/lab/bench/many_models.py": "it is rolled back whatever comes",
}
# Each reads this machine's clock, and why the database's would tell no more.
OWN_CLOCK = {
    "browsers/clock.py": "it is the clock",
    "browsers/session/residents.py": "a worker compares with what it wrote itself",
    "history/answers/common.py": "how old an answer is, for a reader",
    "history/answers/measured.py": "how far back a reader looks",
    "history/answers/published.py": "how old what is published is, for a reader",
    "history/performance.py": "what a caller measured, here",
    "history/recompute.py": "the history worker compares with what it wrote itself",
    "history/recording.py": "what cannot be true: a sample from tomorrow",
    "history/store/snapshot.py": "how old a file of this machine is",
    "history/tasks.py": "the history worker compares with what it wrote itself",
    "history/transfer.py": "what a file says of its own times",
    "inference/auth.py": "a minute's count in Redis, wherever it begins",
    "inference/batches/retention.py": "how old a folder of this machine is",
    "inference/comparisons/storage.py": "how old a file of this machine is",
    "inference/core/generation/wording/chat.py": "what a chat template is told of the day",
    "inference/store/scratch.py": "how old a folder of this machine is",
    "inference/views/openai/generation.py": "when an answer was made, for a reader",
    "webpool_site/children/readiness.py": "how old a file of this machine is",
    "webpool_site/instance.py": "when a process of this machine began",
    "webpool_site/lab/bench/history.py": "when samples that it invents are from",
    "webpool_site/lab/bench/many_models.py": "when samples that it invents are from",
    "webpool_site/lab/faults/campaign.py": "a campaign and its pool are on one machine",
    "webpool_site/lab/faults/pressure.py": "a campaign and its pool are on one machine",
    "webpool_site/management/commands/validate_faults.py": "a campaign and its pool are on one machine",
}


@functools.cache
def trees() -> Mapping[str, ast.Module]:
    """Each file of the product that has one of the words looked for."""
    files = (path for app in APPS for path in (ROOT / app).rglob("*.py"))
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files}
    return {
        path: ast.parse(text)
        for path, text in texts.items()
        if "/migrations/" not in path
        and re.search(r"\btransactions?\.|\.now\(|\btime\.time\(", text)
    }


def _named(node: ast.expr) -> str:
    """`a.b` of `a.b` and of a call of it."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _bare(tree: ast.Module) -> bool:
    return any(_is(node, "atomic", "transaction") for node in ast.walk(tree))


def _is(node: ast.AST, attribute: str, *of: str) -> bool:
    """`of.attribute`, or `something.of.attribute`."""
    if not isinstance(node, ast.Attribute) or node.attr != attribute:
        return False
    value = node.value
    return (value.id if isinstance(value, ast.Name) else getattr(value, "attr", "")) in of


def _unrepeated(tree: ast.AST, repeated: bool = False) -> Iterator[str]:
    """Where a transaction begins in a function that is not done again after a conflict."""
    for node in ast.iter_child_nodes(tree):
        inside = repeated
        if isinstance(node, ast.FunctionDef):
            inside = "transactions.repeated" in map(_named, node.decorator_list)
        if isinstance(node, ast.With) and not repeated:
            for item in node.items:
                room, _, kind = _named(item.context_expr).rpartition(".")
                if room == "transactions" and kind in _KINDS:
                    yield f"line {node.lineno}: {kind}"
        yield from _unrepeated(node, inside)


def _own_clock(tree: ast.Module) -> bool:
    return any(
        _is(node, "now", "timezone", "datetime") or _is(node, "time", "time")
        for node in ast.walk(tree)
    )


def test_every_transaction_is_done_again_after_a_conflict() -> None:
    found = {path: lines for path, tree in trees().items() if (lines := list(_unrepeated(tree)))}
    assert not found, f"put these into a function with @transactions.repeated: {found}"


def test_no_transaction_is_begun_but_where_conflicts_are_known() -> None:
    found = {path for path, tree in trees().items() if _bare(tree)} - {TRANSACTIONS}
    assert found == BARE.keys(), f"use {TRANSACTIONS}, or say why not: {found ^ BARE.keys()}"


def test_rows_are_compared_with_the_database_s_clock() -> None:
    found = {path for path, tree in trees().items() if _own_clock(tree)}
    assert found == OWN_CLOCK.keys(), (
        f"use browsers/clock.py, or say why not: {found ^ OWN_CLOCK.keys()}"
    )
