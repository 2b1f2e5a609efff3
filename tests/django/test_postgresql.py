"""What is PostgreSQL's own: it runs where the tests' database is one (tests/integration/test_postgresql.py)."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction

from inference.models import Run

pytestmark = [
    pytest.mark.usefixtures("clean"),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the tests' database is SQLite"),
]


def cut_off() -> None:
    """End this thread's connection from outside, as a server does that is started anew."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    described = settings.DATABASES["default"]
    with psycopg.connect(
        host=described["HOST"], user=described["USER"], dbname="postgres", autocommit=True
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])


def test_a_connection_that_was_cut_off_fails_once_and_is_opened_again() -> None:
    assert not Run.objects.exists()
    cut_off()
    with pytest.raises(Exception, match="terminat"):
        Run.objects.exists()
    assert not Run.objects.exists()
    with transaction.atomic():
        assert not Run.objects.exists()
    cut_off()
    with pytest.raises(Exception, match="terminat|closed|lost"), transaction.atomic():
        Run.objects.exists()
    with transaction.atomic():
        assert not Run.objects.exists()


def test_a_transaction_that_lost_its_connection_is_not_continued_on_another() -> None:
    with pytest.raises(Exception, match="terminat|closed|lost"), transaction.atomic():  # noqa: PT012
        cut_off()
        with pytest.raises(Exception, match="terminat"):
            Run.objects.exists()
        Run.objects.exists()
    assert not Run.objects.exists()
