"""Browsers, drivers, and what only tests need, as Debian packages, where this user may install them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from webpool_site.setup.step import SetupError, run

PACKAGES = (
    "chromium",
    "chromium-driver",
    "firefox-esr",
    "mesa-vulkan-drivers",  # Firefox' WebGPU, in software
    "webkit2gtk-driver",
    "xvfb",  # the display that WebKitGTK cannot do without
)
FOR_TESTS = ("postgresql", "pgbouncer")
APT = ("apt-get", "-q", "-y", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300")
INSTALL = ("install", "--no-install-recommends")
# Debian starts what it installs, such as a database on its port: systemctl then leaves services as they are.
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}


def is_debian() -> bool:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return False
    return "ID=debian" in lines and shutil.which("apt-get") is not None


def missing_packages(wanted: Sequence[str] = PACKAGES) -> list[str]:
    """Which of them are not installed; empty where there is no dpkg."""
    if shutil.which("dpkg-query") is None:
        return []
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *wanted],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    there = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in wanted if package not in there]


def install(*, development: bool = False) -> str:
    """Install what is missing; says what somebody else would have to do where it may not."""
    wanted = (*PACKAGES, *FOR_TESTS) if development else PACKAGES
    if not is_debian():
        return "not Debian: install chromium, firefox and their drivers with your package manager"
    missing = missing_packages(wanted)
    if not missing:
        return "packages are there"
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        return f"no root, so not installed: {', '.join(missing)}. To have them: sudo {command}"
    if os.environ.get("WEBPOOL_APT") == "0":
        return f"WEBPOOL_APT=0, so not installed: {', '.join(missing)}. To have them: {command}"
    _install(missing)
    still = missing_packages(wanted)
    if still:
        raise SetupError(f"apt-get ended well, but {', '.join(still)} is not installed")
    return f"installed {', '.join(missing)}"


def _install(packages: list[str]) -> None:
    """The lists are updated first: older ones may name a browser of last year, and still install it."""
    environment = {**os.environ, **ENVIRONMENT}
    try:
        run([*APT, "update"], env=environment)
        run([*APT, *INSTALL, *packages], env=environment)
    except SetupError as error:
        raise SetupError(f"{error}\nTo go on without Debian's browsers: WEBPOOL_APT=0") from error
