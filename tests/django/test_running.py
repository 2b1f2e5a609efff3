"""Statements of the hot path, which go to SQLite directly: they say and refuse what Django's cursor does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from inference.models import ApiKey
from inference.store.sql.running import changed, rows

pytestmark = pytest.mark.usefixtures("clean", "no_keys")
_AGAIN = "INSERT INTO inference_apikey SELECT * FROM inference_apikey WHERE name = %s"


@pytest.fixture
def no_keys() -> Iterator[None]:
    ApiKey.objects.all().delete()
    yield
    ApiKey.objects.all().delete()


def test_parameters_and_percent_signs_are_read_as_by_django() -> None:
    for sql, parameters in (("SELECT '%%', %s", ["%s"]), ("SELECT '%', 1", None)):
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            assert rows(sql, parameters) == cursor.fetchall()


def test_how_many_rows_changed() -> None:
    for name in ("a", "b"):
        ApiKey.objects.create(name=name, digest=name, prefix=name)
    assert changed("UPDATE inference_apikey SET prefix = %s", ["c"]) == 2
    assert changed("UPDATE inference_apikey SET prefix = %s WHERE name = %s", ["d", "e"]) == 0


def test_errors_are_djangos_and_a_broken_transaction_takes_nothing_more() -> None:
    with pytest.raises(OperationalError, match="no such table"):
        rows("SELECT 1 FROM nowhere")
    ApiKey.objects.create(name="a", digest="a", prefix="a")
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic():
            changed(_AGAIN, ["a"])
        assert rows("SELECT count(*) FROM inference_apikey") == [(1,)]
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            rows("SELECT 1")


def test_who_listens_to_statements_hears_these() -> None:
    with CaptureQueriesContext(connection) as heard:
        rows("SELECT %s", [1])
        changed("DELETE FROM inference_apikey")
    assert len(heard) == 2
