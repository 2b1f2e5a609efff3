"""A browser that is repaired gives way to others until it answers, and is no slower afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from browsers.processes import politeness
from tests.browser.bench import started


def nice_values(processes: list[psutil.Process]) -> set[int]:
    return {
        os.getpriority(os.PRIO_PROCESS, thread.id)
        for process in processes
        for thread in process.threads()
    }


@pytest.mark.parametrize("kind", ["chromium-npm", "firefox"])
def test_a_repaired_browser_is_nice_until_it_answers(kind: str, tmp_path: Path) -> None:
    if not politeness.prefix():
        pytest.skip("niceness cannot be taken back by this user")
    with started(kind, tmp_path, memory_limit_mb=4096, backends={"wasm"}) as bench:
        browser = bench.session.browser
        assert browser is not None
        assert 5 not in nice_values(browser.processes())
        bench.session.restart(180, polite=True)
        again = bench.session.browser
        assert again is not None
        assert 5 in nice_values(again.processes())
        bench.session.probe()
        bench.session.at_full_speed()
        assert 5 not in nice_values(again.processes())
        bench.session.refresh(180, polite=True)
        assert 5 in nice_values(again.processes())
        bench.session.probe()
        bench.session.at_full_speed()
        assert 5 not in nice_values(again.processes())
