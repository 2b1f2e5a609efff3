"""The pool that the integration tests share, a client of it, and the models of the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.http as triton

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


@pytest.fixture(scope="package")
def client(stack: RunningStack) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(
        f"127.0.0.1:{stack.port}", connection_timeout=120, network_timeout=120
    ) as made:
        yield made


@pytest.fixture(scope="package")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of the zoo's families are, each built once."""
    return tmp_path_factory.mktemp("zoo")
