"""What the fault tests compute: a model slow enough to be hurt in the middle, and the right answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.faults import right_answer, slow_model
from tests.support.pages import Page, pages


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def answer(model: Path) -> np.ndarray:
    return right_answer(model)


@pytest.fixture
def page() -> Iterator[Page]:
    with pages() as served:
        yield served
