"""`make demo`'s own command, as a newcomer runs it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.stack import RunningStack


def test_the_demo_shows_right_answers_from_every_browser_and_leaves_nothing(tmp_path: Path) -> None:
    alone = RunningStack(tmp_path / "home", extra_env={"WEBPOOL_CHROMIUM_FLAGS": ""})
    alone.add_sample()
    alone.manage("add_sample", "smollm2")
    shown = alone.manage("demo", timeout_s=400).stdout
    assert shown.count("RIGHT: largest difference from onnxruntime") == 2
    assert re.search(r"RIGHT: the same text of 24 tokens.* went on in .* by replay", shown), shown
    assert not re.search(r"WRONG|FAILED", shown)
    for browser in ("chromium ", "firefox ", "webkitgtk ", "chromium-npm "):
        assert browser in shown
    for provider in ("CPUExecutionProvider", "WebGpuExecutionProvider", "WebNNExecutionProvider"):
        assert provider in shown
    assert len(re.findall(r"compute ms:(?: +[\d.]+){5} ", shown)) == 4
    assert not alone.wait_gone(), "processes outlived the demo"


def test_whose_set_up_brought_no_models_is_told_before_browsers_start(tmp_path: Path) -> None:
    alone = RunningStack(tmp_path / "home")
    alone.migrate()
    done = alone.manage("demo", check=False)
    assert done.returncode == 2
    assert "minilm, smollm2: not registered" in done.stderr and "make setup" in done.stderr
    assert not re.search(r"browser \w+ +ready", done.stdout)
    assert not alone.wait_gone()
