"""What came of trying files on backends outlives page, browser and worker, for this build of the browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from browsers.core.answers.proofs import ANY_SHAPES, TRIALS, Proof, Standing, Verdict, standing
from browsers.models import BackendProof
from browsers.reports import BackendFacts, BrowserFacts
from browsers.worker import proof_book
from browsers.worker.proof_book import ProofBook
from tests.support.racers import Racing, racers

FILE = "ab" * 32
WRONG = Proof(FILE, "webnn", ANY_SHAPES, Verdict.WRONG, "its output 'y' is off by 1")
GPU = BackendFacts("webgpu", True, "vendor a", False, (), "ort.jspi", 1.0, True, None)
WEBNN = dataclasses.replace(GPU, name="webnn", adapter=None, software=None)
FACTS = BrowserFacts(
    family="chrome",
    kind="chromium",
    version="156.0",
    driver_version=None,
    user_agent="",
    host="",
    cores=2,
    threads=1,
    runtime="onnxruntime-web 1.30",
    backends=(GPU, WEBNN),
)


@pytest.fixture(autouse=True)
def no_proofs(database: None) -> Iterator[None]:
    yield
    BackendProof.objects.all().delete()


def book(kind: str = "chromium", **changed: Any) -> ProofBook:
    """The book of a worker that has just started."""
    facts = dataclasses.replace(FACTS, **changed)
    return ProofBook(kind, lambda: facts)


def right(rows: int, backend: str = "webnn") -> Proof:
    return Proof(FILE, backend, f"x:float32[{rows}]", Verdict.RIGHT, cases=3)


@pytest.mark.parametrize("verdict", [Verdict.WRONG, Verdict.REFUSED, Verdict.BROKE])
def test_the_next_worker_of_the_same_build_excludes_what_one_found_out(verdict: Verdict) -> None:
    found = dataclasses.replace(WRONG, verdict=verdict)
    first = book()
    first.remember(right(3))
    first.remember(found)
    again = book().recall(FILE)
    assert sorted(map(repr, again)) == sorted(map(repr, (found, right(3))))
    for shapes in ("x:float32[3]", "x:float32[4]"):
        stands, why = standing(again, "webnn", shapes)
        assert (stands, why) == (Standing.EXCLUDED, f"{verdict} ({found.reason})")
    assert book().recall("cd" * 32) == []


def remember() -> Racing:
    yield
    book().remember(WRONG)


def test_it_outlives_a_worker_that_is_killed() -> None:
    environment = {}
    if connection.vendor == "sqlite":
        environment["WEBPOOL_DATABASE_PATH"] = str(connection.settings_dict["NAME"])
    with racers(1, environment) as worker:
        worker.race((remember, ()))
    assert book().recall(FILE) == [WRONG]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("chromium", {"version": "157.0"}),
        ("chromium", {"runtime": "onnxruntime-web 1.31"}),
        ("chromium-npm", {}),
    ],
)
def test_another_build_is_tried_anew(kind: str, changed: dict[str, Any]) -> None:
    book().remember(WRONG)
    assert book(kind, **changed).recall(FILE) == []
    assert book().recall(FILE) == [WRONG]


def test_another_adapter_is_tried_anew_and_a_backend_without_one_is_not() -> None:
    wrong_gpu = dataclasses.replace(WRONG, backend="webgpu")
    book().remember(WRONG)
    book().remember(wrong_gpu)
    other = (dataclasses.replace(GPU, adapter="vendor b"), WEBNN)
    assert book(backends=other).recall(FILE) == [WRONG]


def test_trials_by_other_rules_count_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    book().remember(WRONG)
    monkeypatch.setattr(proof_book, "TRIALS", TRIALS + 1)
    assert book().recall(FILE) == []


def test_a_row_that_an_operator_deletes_is_forgotten() -> None:
    mine = book()
    mine.remember(WRONG)
    BackendProof.objects.get(sha256=FILE).delete()
    assert mine.recall(FILE) == []


def test_many_shapes_do_not_push_out_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_book, "_MOST_SHAPES", 2)
    mine = book()
    for proof in (WRONG, *(right(rows) for rows in range(1, 6)), right(1, "webgpu")):
        mine.remember(proof)
    kept = {(one.backend, one.shapes) for one in book().recall(FILE)}
    assert kept == {
        ("webnn", ANY_SHAPES),
        ("webnn", "x:float32[4]"),
        ("webnn", "x:float32[5]"),
        ("webgpu", "x:float32[1]"),
    }


@pytest.fixture
def table_is_gone(database: None) -> Iterator[Any]:
    """The database takes no proofs until the function that this gives is called."""
    table = BackendProof._meta.db_table
    away = [f"ALTER TABLE {table} RENAME TO hidden", f"ALTER TABLE hidden RENAME TO {table}"]

    def move(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    move(away[0])
    yield lambda: move(away.pop())
    if len(away) == 2:
        move(away[1])


def test_what_the_database_does_not_take_is_written_later(table_is_gone: Any) -> None:
    mine = book()
    mine.remember(WRONG)
    mine.remember(WRONG)
    table_is_gone()
    assert book().recall(FILE) == []
    assert mine.recall(FILE) == [WRONG]
    assert book().recall(FILE) == [WRONG]
