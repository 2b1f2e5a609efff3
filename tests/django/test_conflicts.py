"""A transaction that PostgreSQL ends because of another one is done again from its start; no other is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from browsers.models import Browser
from inference.store import transactions
from tests.support.racing import wait_until_somebody_waits

pytestmark = [
    pytest.mark.usefixtures("clean", "rows"),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the tests' database is SQLite"),
]
_WITHIN_S = 60.0
_LOCK = "SELECT 1 FROM browsers_browser WHERE id = %s FOR UPDATE"
# What another transaction writes after the first statement is not seen, and may not be overwritten.
_ALL_READS_AT_ONCE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_NAME = "UPDATE browsers_browser SET family = %s WHERE id = %s"


@pytest.fixture
def rows(clean: None) -> None:
    for name in ("a", "b"):
        Browser.objects.create(pk=name, kind=name, family="nobody")


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    """A connection beside this thread's; its transactions begin and end where a test says so."""
    url = os.environ["WEBPOOL_DATABASE_URL"]
    with psycopg.connect(url, prepare_threshold=None, autocommit=True) as opened:
        yield opened


def execute(sql: str, *values: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def families() -> dict[str, str]:
    return dict(Browser.objects.values_list("pk", "family"))


def overtaken(other: psycopg.Connection[Any], tries: list[str], times: int) -> Callable[[str], str]:
    """What another transaction is faster than so many times, between what it reads and what it writes."""

    @transactions.repeated
    def name(family: str) -> str:
        tries.append(family)
        with transaction.atomic():
            execute(_ALL_READS_AT_ONCE)
            assert families()["b"] == "nobody"
            if len(tries) <= times:
                other.execute(_NAME, [f"other {len(tries)}", "a"])
            execute(_NAME, family, "b")
            execute(_NAME, family, "a")
        return family

    return name


def test_the_victim_of_a_deadlock_is_done_again(other: psycopg.Connection[Any]) -> None:
    tries: list[str] = []

    def from_b_to_a() -> None:
        with other.transaction():
            other.execute("SET LOCAL deadlock_timeout = '1h'")  # it is not the one that notices
            other.execute(_NAME, ["other", "b"])
            other.execute(_NAME, ["other", "a"])

    @transactions.repeated
    def from_a_to_b(family: str) -> str:
        tries.append(family)
        with transaction.atomic():
            execute("SET LOCAL deadlock_timeout = '10ms'")
            execute(_NAME, family, "a")
            if len(tries) == 1:
                others.append(pool.submit(from_b_to_a))
                wait_until_somebody_waits()
            execute(_NAME, family, "b")
        return family

    others: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        assert from_a_to_b("ours") == "ours"
        (ended,) = others
        ended.result(_WITHIN_S)
    assert tries == ["ours", "ours"]
    assert families() == {"a": "ours", "b": "ours"}, "the other one was first"


def test_what_was_read_before_another_wrote_it_is_read_again(
    other: psycopg.Connection[Any],
) -> None:
    tries: list[str] = []
    assert overtaken(other, tries, times=2)("ours") == "ours"
    assert tries == ["ours"] * 3
    assert families() == {"a": "ours", "b": "ours"}


def test_it_is_given_up_after_so_many_conflicts(
    other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_LONGEST_PAUSE_S", 0.001)
    tries: list[str] = []
    with pytest.raises(OperationalError, match="could not serialize access") as met:
        overtaken(other, tries, times=100)("ours")
    assert transactions.is_conflict(met.value)
    assert len(tries) == 12, "as docs/operations.md says"
    assert families() == {"a": "other 12", "b": "nobody"}


def test_within_its_callers_transaction_it_is_not_repeated(other: psycopg.Connection[Any]) -> None:
    tries: list[str] = []

    @transactions.repeated
    def name(family: str) -> None:
        tries.append(family)
        execute(_NAME, family, "a")

    with pytest.raises(OperationalError, match="could not serialize access"), transaction.atomic():
        execute(_ALL_READS_AT_ONCE)
        assert families()["a"] == "nobody"
        other.execute(_NAME, ["other", "a"])
        name("ours")
    assert tries == ["ours"]
    assert families() == {"a": "other", "b": "nobody"}


def test_an_error_of_another_kind_is_not_repeated(other: psycopg.Connection[Any]) -> None:
    tries: list[str] = []

    @transactions.repeated
    def impatient() -> None:
        tries.append("lock")
        with transaction.atomic():
            execute("SET LOCAL lock_timeout = '10ms'")
            execute(_LOCK, "a")

    @transactions.repeated
    def twice() -> None:
        tries.append("insert")
        Browser.objects.create(pk="a", kind="a", family="a")

    with other.transaction():
        other.execute(_LOCK, ["a"])
        with pytest.raises(OperationalError, match="lock timeout"):
            impatient()
    with pytest.raises(IntegrityError):
        twice()
    assert tries == ["lock", "insert"]
