"""What the fault tests compute: a model slow enough to be hurt in the middle, and the right answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.faults import right_answer, slow_model
from tests.support.pages import Page, pages
from tests.support.pools import Pools
from tests.support.stack import RunningStack


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def answer(model: Path) -> np.ndarray:
    return right_answer(model)


@pytest.fixture(scope="module")
def pair(pools: Pools) -> RunningStack:
    """A pool of Chromium and Firefox, for all files that do it no harm that it does not recover from."""
    return pools.lend("pair")


@pytest.fixture
def page() -> Iterator[Page]:
    with pages() as served:
        yield served
