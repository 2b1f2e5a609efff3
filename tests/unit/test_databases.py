"""Which database the environment names, and what is said to a URL that names none."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from webpool_site.databases import database

HOME = Path("/home/of/the/pool")


def test_without_a_word_it_is_a_file_in_the_home() -> None:
    found = database(HOME, {})
    assert (found["ENGINE"], found["NAME"]) == ("django.db.backends.sqlite3", HOME / "db.sqlite3")
    assert database(HOME, {"WEBPOOL_DATABASE_PATH": "/x.db"})["NAME"] == Path("/x.db")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://me:a%40b@db.example.org:6432/ledger?sslmode=require",
            {"USER": "me", "PASSWORD": "a@b", "HOST": "db.example.org", "PORT": "6432"},
        ),
        ("postgres://me@/ledger?host=/run/postgresql", {"USER": "me", "HOST": "/run/postgresql"}),
        ("postgresql://me@%2Frun%2Fpostgresql/ledger", {"USER": "me", "HOST": "/run/postgresql"}),
    ],
)
def test_a_url_names_a_server_as_libpq_reads_it(url: str, expected: dict[str, str]) -> None:
    found = database(HOME, {"WEBPOOL_DATABASE_URL": url})
    assert found["NAME"] == "ledger"
    assert {name: found[name] for name in expected} == expected
    assert found["OPTIONS"].get("sslmode") == ("require" if "sslmode" in url else None)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:secret@there/ledger", "expected postgresql://.*; got '…@there/ledger'"),
        ("postgresql://me@there", "got no name of a database"),
        ("postgresql://me@there/ledger?colour=red", "colour"),
        ("postgresql://me:secret%zz@there/ledger", "written as %40"),
        ("postgresql://me:a secret@there/ledger", "written as %40"),
    ],
)
def test_another_url_is_refused_with_what_was_expected(url: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message) as refused:
        database(HOME, {"WEBPOOL_DATABASE_URL": url})
    assert "secret" not in str(refused.value)


def test_a_url_and_a_path_are_one_too_many() -> None:
    both = {"WEBPOOL_DATABASE_URL": "postgresql://me@there/x", "WEBPOOL_DATABASE_PATH": "/x.db"}
    with pytest.raises(ImproperlyConfigured, match="unset one"):
        database(HOME, both)
