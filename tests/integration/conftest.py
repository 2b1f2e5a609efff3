"""The pool that the integration tests share, a client of it, and the models of the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.http as triton

from tests.support.stack import RunningStack


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
