"""What tests of the ledger start from and leave: no run, no browser, an empty store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    from browsers.models import Browser
    from browsers.redis import client
    from inference.models import Run

    client().flushall()
    Run.objects.all().delete()
    yield
    Run.objects.all().delete()
    Browser.objects.all().delete()
    client().flushall()
