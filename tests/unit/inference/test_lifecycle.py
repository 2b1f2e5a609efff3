"""The tables of moves, and that nothing but their two writers writes the state of a run or a step."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inference.core.lifecycle import RUN, STEP, Lifecycle, RunState, StepState
from inference.store import run_moves, step_moves

ROOT = Path(__file__).parents[3]
WRITERS = {"inference/store/step_moves.py", "inference/store/run_moves.py"}
# These write the states of batch jobs, and know runs by their answers only.
OF_OTHERS = {
    "inference/batches/engine.py",
    "inference/batches/jobs.py",
    "inference/comparisons/asking.py",
    "inference/comparisons/engine.py",
    "inference/comparisons/outcomes.py",
    "inference/generation/endings.py",
}
ROWS = {"run", "runs", "shard", "shards", "step", "steps", "join", "joins"}


@pytest.mark.parametrize(("life", "writer"), [(STEP, step_moves), (RUN, run_moves)])
def test_each_move_has_a_name_of_its_own_and_a_function_of_that_name(
    life: Lifecycle[Any], writer: ModuleType
) -> None:
    names = [move.name for move in life.moves]
    assert len(set(names)) == len(names)
    missing = [name for name in names if not callable(getattr(writer, name, None))]
    assert not missing, f"{writer.__name__} has no function for {missing}"


@pytest.mark.parametrize(
    ("life", "ended"),
    [
        (STEP, {StepState.DONE, StepState.FAILED, StepState.CANCELLED}),
        (RUN, {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
    ],
)
def test_the_end_is_the_end_and_every_state_is_reached(
    life: Lifecycle[Any], ended: set[Any]
) -> None:
    assert set(life.ended) == ended
    reached = {life.initial, *(move.after for move in life.moves)}
    assert reached == {*life.open, *life.ended}


def test_what_takes_a_step_from_somebody_raises_its_fence() -> None:
    """A message or a worker may have it: only what its holder does itself leaves the fence as it is."""
    by_holder = {"claim", "finish", "fail"}
    for move in STEP.moves:
        held = {StepState.QUEUED, StepState.RUNNING}.intersection(move.before)
        if held and move.name not in by_holder:
            assert move.raises_fence, move.name


def sources() -> Iterator[tuple[str, ast.Module]]:
    for app in ("inference", "webpool_site"):
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def says_state(node: ast.AST) -> bool:
    return any(isinstance(it, ast.Constant) and it.value == "state" for it in ast.walk(node))


def writes(node: ast.AST) -> bool:
    """Whether it sets a state, of whatever it may be, or saves a whole row of a run or a step."""
    if isinstance(node, ast.Attribute):
        return node.attr == "state" and isinstance(node.ctx, ast.Store)
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func).rpartition(".")
    on, name = called[0].rpartition(".")[2], called[2]
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in ("update", "aupdate"):
        value = ast.unparse(given.get("state", ast.Constant(None)))
        return value != "None" and not value.startswith("BrowserState.")
    if name in ("bulk_update", "update_or_create", "setattr"):
        return says_state(node)
    if name == "save":
        return says_state(node) or (on in ROWS and "update_fields" not in given)
    if name == "Update":
        return ast.unparse(node.args[0]) in ("Run", "RunStep")
    if name in ("Run", "RunStep"):
        return ast.unparse(given.get("state", ast.Constant(None))) not in ("None", "STEP.initial")
    return False


def test_nobody_but_the_writers_writes_the_state_of_a_run_or_a_step() -> None:
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in sources()
        if path not in WRITERS | OF_OTHERS
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Call) and writes(node)
    ]
    assert not found, "move it through inference.store.step_moves or run_moves: " + "\n".join(found)


@pytest.mark.parametrize("path", sorted(OF_OTHERS))
def test_what_writes_the_states_of_others_knows_no_step(path: str) -> None:
    assert "RunStep" not in (ROOT / path).read_text()


def test_no_statement_in_sql_writes_a_state_that_the_table_does_not_give() -> None:
    files = list((ROOT / "inference" / "store" / "sql").glob("*.sql"))
    assert files
    for file in files:
        changes = re.findall(r"SET (.+)", file.read_text())
        assert not any("state" in change for change in changes), file.name


@pytest.mark.parametrize(
    "source",
    [
        "shard.state = 'done'",
        "shard.state, shard.browser = 'done', ''",
        "RunStep.objects.filter(pk=1).update(state='done')",
        "shard.save(update_fields=['state'])",
        "run.save()",
        "Update(RunStep, {}, {})",
        "RunStep(run=run, state=StepState.DONE)",
        "setattr(run, 'state', 'failed')",
    ],
)
def test_the_search_sees_every_way_to_write(source: str) -> None:
    assert any(writes(node) for node in ast.walk(ast.parse(source)))
