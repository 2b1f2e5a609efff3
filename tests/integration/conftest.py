"""The pool that the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import RunningStack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack with every installed browser and the sample model, for all tests that do no harm.

    It ends with the last of them: a pool at rest takes memory and a quarter of a core.
    """
    running = RunningStack(tmp_path_factory.mktemp("stack"))
    running.migrate()
    running.manage("add_sample")
    running.start()
    yield running
    running.stop()
    assert not running.wait_gone(), "processes outlived the stack"
