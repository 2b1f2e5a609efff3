"""What is PostgreSQL's own, where the tests' database is one (tests/integration/test_on_postgresql.py)."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from browsers import clock
from browsers.models import Browser
from history.store import latest
from inference.models import Attempt, Run, StepState
from tests.support import pgbouncer, racing
from tests.support.history import kept
from tests.support.ledger import make_run, publish
from tests.support.loops import until
from tests.support.racers import racers

pytestmark = [
    pytest.mark.usefixtures("clean"),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the tests' database is SQLite"),
]

CUT_OFF = "terminat|removed"  # the server's word, and the pooler's
POOLED = os.environ.get("TESTS_DATABASE") == "pgbouncer"


def cut_off() -> None:
    """End this thread's connection from outside, as a server or a pooler does that is started anew."""
    if POOLED:
        name = settings.DATABASES["default"]["NAME"]
        with opened(pgbouncer.CONSOLE) as console:
            console.execute(f"KILL {name}")
            console.execute(f"RESUME {name}")
        return
    pid = backend()
    with opened("postgres") as other:
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])


def begin_anew() -> None:
    """Go on with another connection to the server, whose settings are the database's of now."""
    cut_off()
    connection.close()


def opened(database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ["WEBPOOL_DATABASE_URL"], dbname=database, autocommit=True)


def backend() -> int:
    """The server's process that answers this thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_a_transaction_has_one_connection_to_the_server_and_the_next_may_have_another() -> None:
    with transaction.atomic():
        assert len({backend() for _ in range(20)}) == 1
    if POOLED:
        until(lambda: len({backend() for _ in range(4)}) > 1)
    else:
        assert len({backend() for _ in range(20)}) == 1


def test_a_connection_that_was_cut_off_fails_once_and_is_opened_again() -> None:
    assert not Run.objects.exists()
    cut_off()
    with pytest.raises(Exception, match=CUT_OFF):
        Run.objects.exists()
    assert not Run.objects.exists()
    with transaction.atomic():
        assert not Run.objects.exists()
    cut_off()
    with pytest.raises(Exception, match=rf"{CUT_OFF}|closed|lost"), transaction.atomic():
        Run.objects.exists()
    with transaction.atomic():
        assert not Run.objects.exists()


def test_a_transaction_that_lost_its_connection_is_not_continued_on_another() -> None:
    with pytest.raises(Exception, match=rf"{CUT_OFF}|closed|lost"), transaction.atomic():
        cut_off()
        with pytest.raises(Exception, match=CUT_OFF):
            Run.objects.exists()
        Run.objects.exists()
    assert not Run.objects.exists()


def test_many_rows_are_read_without_a_cursor_that_stays_with_a_connection() -> None:
    for name in "abcde":
        Browser.objects.create(pk=name, kind=name, family=name)
    read = []
    for browser in Browser.objects.order_by("pk").iterator(chunk_size=2):
        read.append(browser.pk)
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM pg_cursors")
            assert cursor.fetchone() == (0,)
    assert read == list("abcde")


def test_a_claim_that_is_committed_while_its_browser_is_quarantined_is_taken_back() -> None:
    for name in ("a", "b"):
        Browser.objects.create(pk=name, kind=name, family=name)
        publish(name)
    step = make_run("layer", 1, browsers=["a", "b"]).shards.get()
    with racers(2, {}) as two:
        raced = two.race((racing.claim_slowly, (step.pk, step.fence)), (racing.quarantine, ("a",)))
    assert raced == [True, 1]
    step.refresh_from_db()
    assert (step.browser, step.state) == ("b", StepState.QUEUED)


def test_an_attempt_that_is_committed_after_a_later_one_becomes_history(tmp_path: Path) -> None:
    publish("a")
    history = tmp_path / "history.duckdb"
    first, second = (make_run("layer", 1).shards.get() for _ in range(2))
    with racers(2, {"WEBPOOL_HISTORY_PATH": str(history)}) as two:
        _, taken_meanwhile = two.race(
            (racing.hold_back, (first.pk, first.fence)),
            (racing.answer_and_hand_over, (second.pk, second.fence)),
        )
        (taken,) = two.race((racing.hand_over, ()))
    assert (taken_meanwhile, taken) == (0, 2)
    numbers = dict(Attempt.objects.values_list("shard", "pk"))
    assert numbers[first.pk] < numbers[second.pk]
    assert sorted(row["source_id"] for row in kept(latest(history))) == sorted(numbers.values())


def test_the_servers_clock_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_last", None)
    monkeypatch.setattr(clock, "_ASK_EVERY_S", 0.0)
    hour, little = timedelta(hours=1), timedelta(seconds=30)
    name = settings.DATABASES["default"]["NAME"]
    with opened(name) as other:
        other.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
            "$$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$"
        )
        other.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    begin_anew()
    try:
        assert abs(clock.about_now() - timezone.now()) < little, "nobody has asked yet"
        assert abs(clock.now() - timezone.now() - hour) < little
        assert abs(clock.about_now() - timezone.now() - hour) < little
        assert abs(asyncio.run(_now()) - timezone.now() - hour) < little, "a loop does not ask"
        cut_off()
        assert abs(clock.now() - timezone.now() - hour) < little, "it goes on without the server"
    finally:
        with opened(name) as other:
            other.execute(f"ALTER DATABASE {name} RESET search_path")
            other.execute("DROP FUNCTION public.clock_timestamp()")
        begin_anew()


async def _now() -> datetime:
    return clock.now()
