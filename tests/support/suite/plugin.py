"""A pytest plugin: `-n 2` runs the suite by units, longest first, and tells how far it is.

In the process that hands out it makes the scheduler and the lines of progress; in a worker it writes down
where each test belongs, which only a process that has collected them knows.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.suite import durations, units
from tests.support.suite.sharing import SHARED_POOLS, pool_by_file
from tests.support.suite.units import Place, Unit

_PLACES = "webpool_places"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--durations-table",
        type=Path,
        default=durations.TABLE,
        help="what each test file takes: hints for the order and for the time left",
    )
    parser.addoption(
        "--record-durations",
        action="store_true",
        help="write into that table what each test file took this time",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone(reason): no other test may run at the same time")
    config.addinivalue_line("markers", "soak(reason): run by `make soak` only, for its length")
    if config.getoption("numprocesses", None):
        config.pluginmanager.register(Controller(config), "webpool-suite")
    elif hasattr(config, "workerinput"):
        config.pluginmanager.register(Worker(Path(config.workerinput[_PLACES])), "webpool-worker")


def places(items: Sequence[pytest.Item]) -> dict[str, Place]:
    """A test's unit: its file, or all the files that share its pool; what is alone is by itself."""
    pools = pool_by_file([item for item in items if not _is_alone(item)])
    return {item.nodeid: _place(item, pools) for item in items}


def _place(item: pytest.Item, pools: Mapping[str, str]) -> Place:
    file = units.file_of(item.nodeid)
    if _is_alone(item):
        return Place(file, True)
    return Place(SHARED_POOLS[pools[file]] if file in pools else file, False)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


class Worker:
    """In a worker process: tells the other process where each test belongs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @pytest.hookimpl(tryfirst=True)  # before the list of tests is sent
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        found = {test: dataclasses.astuple(where) for test, where in places(session.items).items()}
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(found))
        draft.rename(self._path)


class Controller:
    """In the process that hands out the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._table: Path = config.getoption("durations_table")
        self._durations = durations.read(self._table)
        self._folder = tempfile.TemporaryDirectory(prefix="webpool-suite-")
        self._places = Path(self._folder.name) / "places.json"
        self._progress: Any = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_PLACES] = str(self._places)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> Any:
        from tests.support.suite.progress import Progress
        from tests.support.suite.scheduler import LongestFirst

        scheduler = LongestFirst(config, self._arranged, self._durations)
        terminal = config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None and config.getoption("verbose") <= 0:
            self._progress = Progress(
                terminal, scheduler.left_s,
                lambda test: units.expected_s(test, self._durations),
                interactive=sys.stdout.isatty() and not os.environ.get("CI"),
            )  # fmt: skip
            config.pluginmanager.register(self._progress, "webpool-progress")
        return scheduler

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:
        if self._progress is not None:
            self._progress.begin(len(ids))

    def _arranged(self, tests: Sequence[str]) -> list[Unit]:
        found = {
            test: Place(*where) for test, where in json.loads(self._places.read_text()).items()
        }
        return units.arrange(tests, found, self._durations)

    def pytest_sessionfinish(self) -> None:
        if self._progress is not None:
            self._progress.end()
            if self._config.getoption("record_durations"):
                durations.write(self._table, self._durations | units.measured(self._progress.took))
        self._folder.cleanup()
