"""Fixtures that many tests share: a real database file and a real Valkey."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.pools import Pools
from tests.support.shared import migrated
from tests.support.stack import RunningStack
from tests.support.suite.sharing import pool_by_file
from tests.support.suite.units import file_of

# A shell starts what it runs in the background with SIGINT ignored, which children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a busy machine. CI tries the same examples every time; at home
# each run tries others.
settings.register_profile(
    "webpool",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
settings.load_profile("webpool")

_POOLS: pytest.StashKey[tuple[Pools, dict[str, str]]] = pytest.StashKey()
"""Set once a shared pool was asked for: with it, the pool that each file uses."""
_DATABASE: pytest.StashKey[Any] = pytest.StashKey()
"""Set once this process has the tests' database: what lets code use it."""


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_blocker: Any,
    django_db_modify_db_settings: None,
) -> None:
    """In place of pytest-django's: it migrates anew in each process, and only where some test is marked.

    The tables are there for `database` too, which no mark asks for.
    """
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    settings.PASSWORD_HASHERS = ["tests.support.people.QuickHasher"]
    if connection.vendor == "postgresql":  # this process' own, and empty
        with django_db_blocker.unblock():
            call_command("migrate", interactive=False, verbosity=0)
    else:
        name = str(connection.settings_dict["TEST"]["NAME"])
        with django_db_blocker.unblock():
            connection.close()
            shutil.copy(migrated(), name)
            settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name
    request.config.stash[_DATABASE] = django_db_blocker


@pytest.fixture(scope="session")
def pools(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pools]:
    """The pools that files share, of which one runs at a time."""
    made = Pools(lambda name: tmp_path_factory.mktemp(name) / "home")
    request.config.stash[_POOLS] = made, pool_by_file(request.session.items)
    yield made
    made.end()


@pytest.fixture(scope="module")
def stack(pools: Pools) -> RunningStack:
    """Every installed browser and the sample model, for all files whose tests do no harm."""
    return pools.lend("stack")


@pytest.fixture(scope="module")
def pair(pools: Pools) -> RunningStack:
    """Chromium and Firefox, for all files that do no harm from which a pool does not recover."""
    return pools.lend("pair")


@pytest.fixture(scope="module")
def trio(pools: Pools) -> RunningStack:
    """Chromium, Firefox and WebKitGTK, without standbys; as `pair`."""
    return pools.lend("trio")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """A shared pool ends with the last file in a row whose tests use it."""
    yield
    if shared := item.config.stash.get(_POOLS, None):
        made, wanted = shared
        made.end_unless(wanted.get(file_of(nextitem.nodeid)) if nextitem else None)


@pytest.fixture(scope="module", autouse=True)
def leaves_no_rows(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a file's tests wrote into the database is gone before the next file's begin.

    Ids are not given out again: a process remembers plans by theirs. Schedules, which a migration makes, are
    there again.
    """
    yield
    from django.apps import apps
    from django.core.management import call_command

    if used := request.config.stash.get(_DATABASE, None):
        with used.unblock():
            call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
            importlib.import_module("webpool_site.migrations.0001_schedules").create(apps, None)


@pytest.fixture(scope="session")
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The ledger in a real SQLite file of the tests' own home, or on PostgreSQL; the same as `django_db` has.

    A process remembers plans by their ids: a second database would have others under the same ids.
    """
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def valkey() -> Iterator[Any]:
    """The embedded Valkey in the tests' own home."""
    from django.conf import settings

    from webpool_site.valkey import EmbeddedValkey

    with EmbeddedValkey(settings.WEBPOOL_HOME) as server:
        yield server


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    """What tests of the ledger start from and leave: no run, no browser, an empty store."""
    from browsers.models import Browser, PoolEvent
    from browsers.redis import client
    from inference.models import Run

    def empty() -> None:
        client().flushall()
        for model in (Run, Browser, PoolEvent):
            model.objects.all().delete()

    empty()
    yield
    empty()
