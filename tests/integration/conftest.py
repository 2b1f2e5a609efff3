"""The pool that the integration tests share, a client of it, and the models of the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.http as triton

from tests.support.pools import Pools
from tests.support.stack import RunningStack


@pytest.fixture(scope="module")
def stack(pools: Pools) -> RunningStack:
    """A pool with every installed browser and the sample model, for all files whose tests do no harm."""
    return pools.lend("stack")


@pytest.fixture(scope="module")
def pair(pools: Pools) -> RunningStack:
    """A pool of two browsers of different families, on WebAssembly."""
    return pools.lend("pair")


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(
        f"127.0.0.1:{stack.port}", connection_timeout=120, network_timeout=120
    ) as made:
        yield made


@pytest.fixture(scope="package")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of the zoo's families are, each built once."""
    return tmp_path_factory.mktemp("zoo")
