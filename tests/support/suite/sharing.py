"""Which files share a pool, by the fixture that lends it to their tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.suite.units import file_of

SHARED_POOLS = {
    "stack": "the pool of every browser",
    "pair": "the pool of two browsers",
    "trio": "the pool of three browsers",
}
"""By fixture the unit of the files whose tests use it: one process runs them, one after the other."""


def pool_of(item: pytest.Item) -> str | None:
    """The fixture by which this test uses a shared pool."""
    used = getattr(item, "fixturenames", ())
    return next((name for name in SHARED_POOLS if name in used), None)


def pool_by_file(items: Sequence[pytest.Item]) -> dict[str, str]:
    """A file uses a pool when one of its tests does."""
    return {file_of(item.nodeid): name for item in items if (name := pool_of(item))}
