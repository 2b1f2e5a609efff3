"""The set-up's own decisions: what is missing, what is retried, which browsers are asked for."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from webpool_site import ports, valkey
from webpool_site.browser_list import BrowserListError, choose, parse, slots
from webpool_site.instance import AlreadyRunning, Instance
from webpool_site.setup import debian, node, step

ROOT = Path(__file__).parents[2]


def test_browsers_are_numbered_within_their_kind() -> None:
    chosen = slots(parse("firefox:2,chromium,firefox"))
    assert [slot.id for slot in chosen] == ["firefox", "firefox-2", "chromium", "firefox-3"]
    assert [slot.kind for slot in chosen] == ["firefox", "firefox", "chromium", "firefox"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lynx", "unknown browser 'lynx': expected auto, or some of chromium, "),
        ("chromium,", "unknown browser ''"),
        ("firefox:0", "expected a number from 1 to 64, got '0'"),
        ("firefox:many", "got 'many'"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(BrowserListError, match=message):
        parse(text)


def test_a_browser_that_this_machine_cannot_have_is_refused_with_its_remedy() -> None:
    kind = "safari" if sys.platform != "darwin" else "webkitgtk"
    with pytest.raises(BrowserListError, match=rf"{kind} cannot run here: .* Remedy: "):
        choose(kind)


def test_a_command_that_fails_for_a_moment_is_tried_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "PAUSES_S", (0.01, 0.01))
    script = (
        "import pathlib, sys; p = pathlib.Path(sys.argv[1]); n = len(p.read_text()) if p.exists()"
        " else 0; p.write_text('x' * (n + 1)); print('try', n + 1); sys.exit(n < 2)"
    )
    command = (sys.executable, "-c", script, str(tmp_path / "count"))
    assert step.run(command) == "try 3\n"


def test_a_command_that_keeps_failing_is_an_error_with_its_words(monkeypatch) -> None:
    monkeypatch.setattr(step, "PAUSES_S", (0.01, 0.01))
    with pytest.raises(
        step.SetupError, match=r"failed 3 times, last with exit code 4:\n.*no route"
    ):
        step.run([sys.executable, "-c", "print('no route'); raise SystemExit(4)"])
    with pytest.raises(step.SetupError, match="cannot be run"):
        step.run(["/no/such/program"])


def test_the_lock_file_names_versions_and_no_host() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert not [path for path, entry in lock["packages"].items() if "resolved" in entry]
    assert all(entry.get("version") for path, entry in lock["packages"].items() if path)


def test_npm_packages_that_are_there_are_not_asked_for_again() -> None:
    assert node.missing_packages(development=False) == []
    found = node.find_node()
    assert found is not None
    assert int(found.version.partition(".")[0]) >= node.OLDEST_NODE


def test_the_requirements_are_pinned() -> None:
    for path in ROOT.glob("requirements*.txt"):
        lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        assert lines
        assert all("==" in line for line in lines), path.name


def test_the_requirements_are_complete_and_name_nothing_twice() -> None:
    """They are installed without their dependencies, several lists at once."""
    runtime, tests = _required("requirements.txt"), _required("requirements-dev.txt")
    names = [each.name for each in (*runtime, *tests, *_required("requirements-models.txt"))]
    assert len({canonicalize_name(name) for name in names}) == len(names)
    for listed in (runtime, (*runtime, *tests)):
        known = {canonicalize_name(each.name) for each in listed}
        assert {each for one in listed for each in _needs(one)} <= known


def _required(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] != "#"]


def _needs(listed: Requirement) -> set[str]:
    """What the package needs with any release of this Python, with the extras that are asked for.

    Debian 12 has 3.11.2, for which redis needs a package that it does not need for later ones.
    """
    if listed.marker and not listed.marker.evaluate():
        return set()  # it is not here to be asked
    needed = map(Requirement, metadata.requires(listed.name) or ())
    version = "{}.{}".format(*sys.version_info[:2])
    environments = [
        {"extra": extra, "python_full_version": release}
        for extra in ("", *listed.extras)
        for release in (f"{version}.0", f"{version}.99")
    ]
    return {
        str(canonicalize_name(each.name))
        for each in needed
        if not each.marker or any(map(each.marker.evaluate, environments))
    } - {"setuptools"}  # venv brings it


def test_where_this_user_may_not_install_it_says_what_to_run(monkeypatch) -> None:
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "missing_packages", lambda _wanted: ["firefox-esr", "xvfb"])
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    assert debian.install() == (
        "no root, so not installed: firefox-esr, xvfb. To have them: "
        "sudo apt-get install --no-install-recommends firefox-esr xvfb"
    )


def test_what_is_installed_for_tests_starts_no_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine whose apt-get installs what it is told, and writes down how it was called."""
    there, calls = tmp_path / "installed", tmp_path / "calls"
    there.write_text("".join(f"{each} installed\n" for each in debian.PACKAGES))
    _program(tmp_path / "dpkg-query", f'cat "{there}"')
    _program(
        tmp_path / "apt-get",
        f'echo "$SYSTEMD_OFFLINE $*" >> "{calls}"',
        'for word; do case "$word" in p*) echo "$word installed" >> "'
        + str(there)
        + '"; esac; done',
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("WEBPOOL_APT", raising=False)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    assert debian.install() == "packages are there"
    assert debian.install(development=True) == "installed postgresql, pgbouncer"
    update, install = calls.read_text().splitlines()
    assert update.startswith("1 ") and update.endswith(" update")
    assert install.startswith("1 ") and install.endswith(" postgresql pgbouncer")


def _program(path: Path, *lines: str) -> None:
    path.write_text("\n".join(("#!/bin/sh", *lines)))
    path.chmod(0o755)


def test_one_pool_per_home_and_a_stale_file_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pool.json").write_text('{"pid": 999999}')
    assert not Instance(tmp_path).running()
    with Instance(tmp_path) as first:
        assert Instance(tmp_path).running()
        with pytest.raises(AlreadyRunning) as refused:
            Instance(tmp_path).acquire()
        assert refused.value.pid == first.facts()["pid"]
    assert not Instance(tmp_path).running()


def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ports.accepts("127.0.0.1", port)
        with pytest.raises(
            ports.PortError, match=rf"port {port} is taken by python.*PORT={port + 1}"
        ):
            ports.check_free("127.0.0.1", port)
    ports.check_free("127.0.0.1", port)
    with pytest.raises(ports.PortError, match="expected a port from 1 to 65535, got 0"):
        ports.check_free("127.0.0.1", 0)


def test_a_second_set_up_of_a_home_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "WEBPOOL_HOME": str(tmp_path / "home")}
    command = [sys.executable, "manage.py", "setup", "--only", "database"]
    with step.alone(tmp_path / "home", pytest.fail):
        second = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert second.stdout.readline() == "another set-up is at work here: waiting for its end\n"
        assert not (tmp_path / "home" / "db.sqlite3").exists()
    assert "migrations applied" in second.communicate(timeout=120)[0]
    assert second.returncode == 0


def test_a_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    assert valkey.socket_path(Path("/home")) == Path("/home/run/valkey.sock")
    long = tmp_path / ("x" * 120)
    assert len(str(valkey.socket_path(long))) <= valkey.SOCKET_PATH_LIMIT
    assert valkey.socket_path(long) != valkey.socket_path(long / "y")


def test_a_homes_folders_are_its_users_alone(tmp_path: Path) -> None:
    """Whoever opens it, with whatever umask; those that an earlier webpool left open are closed."""
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "logs").chmod(0o755)
    script = "import os; os.umask(0o022); import django; django.setup()"
    for command in (["-c", script], ["manage.py", "models"]):
        subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={
                **os.environ,
                "WEBPOOL_HOME": str(home),
                "DJANGO_SETTINGS_MODULE": "webpool_site.settings",
            },
            umask=0o022,
            check=False,
            capture_output=True,
        )
        modes = {path.name: path.stat().st_mode & 0o777 for path in [home, *home.iterdir()]}
        folders = {name: mode for name, mode in modes.items() if (home / name).is_dir()}
        assert folders.keys() >= {"batches", "files", "logs", "models", "profiles", "run"}
        assert set(folders.values()) == {0o700}
        assert {mode for name, mode in modes.items() if name not in folders} <= {0o700, 0o600}


def test_a_database_outside_the_home_is_its_users_alone(tmp_path: Path) -> None:
    place = tmp_path / "db.sqlite3"
    tmp_path.chmod(0o755)
    subprocess.run(
        [sys.executable, "manage.py", "setup", "--only", "database"],
        cwd=ROOT,
        env={
            **os.environ,
            "WEBPOOL_HOME": str(tmp_path / "home"),
            "WEBPOOL_DATABASE_PATH": str(place),
        },
        umask=0o022,
        check=True,
        capture_output=True,
    )
    assert place.stat().st_mode & 0o777 == 0o600
