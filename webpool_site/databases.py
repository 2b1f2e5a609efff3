"""Where the ledger is kept: a SQLite file that needs nothing, or a PostgreSQL server for several machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

URL = "WEBPOOL_DATABASE_URL"
PATH = "WEBPOOL_DATABASE_PATH"
_EXPECTED = (
    "postgresql://user:password@host:port/name, or postgresql://user@/name?host=/folder/of/socket"
)
_CONNECT_TIMEOUT_S = 10
# What libpq calls them, and what Django does.
_NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}


def database(home: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Django's description of the database that the environment names; SQLite in the home without one.

    Raises:
        ImproperlyConfigured: the URL is none of PostgreSQL, or both a URL and a path are given.
    """
    url, path = environment.get(URL, ""), environment.get(PATH, "")
    if url and path:
        raise ImproperlyConfigured(f"{URL} and {PATH} are both set: unset one of them")
    return postgresql(url) if url else sqlite(Path(path) if path else home / "db.sqlite3", home)


def sqlite(path: Path, home: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        # A file for tests, too: connections that share memory lock whole tables, which a file's do not.
        "TEST": {"NAME": home / "test.sqlite3"},
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;"
            ),
        },
    }


def postgresql(url: str) -> dict[str, Any]:
    """Nothing is left in a session between transactions, so that pgbouncer may give each to another."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured(f"{URL}: expected {_EXPECTED}; got {_without_password(url)!r}")
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError as error:
        why = _without_secrets(str(error).strip(), url)
        raise ImproperlyConfigured(f"{URL}: expected {_EXPECTED}; {why}") from None
    if not given.get("dbname"):
        raise ImproperlyConfigured(f"{URL}: expected {_EXPECTED}; got no name of a database")
    named = {_NAMES[key]: str(value) for key, value in given.items() if key in _NAMES}
    others = {key: value for key, value in given.items() if key not in _NAMES}
    return {
        "ENGINE": "webpool_site.postgresql",
        **named,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,  # asked once a task or request, so that none is lost to a restart
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": "webpool",
            "prepare_threshold": None,
            **others,
        },
    }


def _without_secrets(why: str, url: str) -> str:
    """libpq's words, unless they quote what stands before the host."""
    secret = url.rpartition("@")[0]
    if any(quoted in secret for quoted in re.findall(r'"(.+?)"', why)):
        return "what is special in a user's name or a password is written as %40 and the like"
    return why


def _without_password(url: str) -> str:
    start, at, rest = url.rpartition("@")
    return f"…@{rest}" if at else start + rest
