"""The page's own tests, run by node."""

from __future__ import annotations

import subprocess

from tests.support.stack import ROOT
from webpool_site.setup.node import find_node


def test_the_pages_modules() -> None:
    node = find_node()
    assert node is not None, "node is missing: run `manage.py setup --only node`"
    done = subprocess.run(
        ["node", "--test", "tests/js/"],
        cwd=ROOT, env=node.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 0" not in done.stdout and "pass 0\n" not in done.stdout, done.stdout
