"""Settings of the wrong form: refused at the start in one line, which repeats no password."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.support.stack import ROOT
from webpool_site.environment import env_float, env_int, env_level, env_networks, redis_url

NAME = "WEBPOOL_TRIED"


@pytest.mark.parametrize("given", ["abc", "-1", "1.5", "1e3", "70000", "9" * 5000, "nan"])
def test_a_port_that_is_none(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(NAME, given)
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}: expected a whole number"):
        env_int(NAME, 8000, most=65_535)


@pytest.mark.parametrize("given", ["abc", "-0.5", "nan", "inf", "1e999"])
def test_a_number_that_is_none(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(NAME, given)
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}: expected a number"):
        env_float(NAME, 2.5)


def test_what_is_right_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (env_int(NAME, 7), env_float(NAME, 2.5), env_level(NAME, "INFO")) == (7, 2.5, "INFO")
    monkeypatch.setenv(NAME, " 65535 ")
    assert env_int(NAME, 7, most=65_535) == 65_535
    monkeypatch.setenv(NAME, "1e-3")
    assert env_float(NAME, 2.5) == 0.001
    monkeypatch.setenv(NAME, "debug")
    assert env_level(NAME, "INFO") == "DEBUG"
    monkeypatch.setenv(NAME, "loud")
    with pytest.raises(ImproperlyConfigured, match="expected one of DEBUG"):
        env_level(NAME, "INFO")


@pytest.mark.parametrize(
    "url", ["redis://:SECRET@h:port/0", "redsi://:SECRET@h/0", "redis://:SEC/RET@h/0", "SECRET"]
)
def test_an_address_of_redis_that_is_none_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    monkeypatch.setenv("WEBPOOL_REDIS_URL", url)
    with pytest.raises(ImproperlyConfigured, match="WEBPOOL_REDIS_URL: expected redis://") as said:
        redis_url(tmp_path)
    assert "SEC" not in str(said.value)


_NUMERIC = sorted(
    set(
        re.findall(
            r'env_(?:int|float|share|days|memory_mb)\(\s*"(\w+)"',
            (ROOT / "webpool_site" / "settings.py").read_text(),
        )
    )
)
# Of these 0 means that there is none of it, or that nothing is waited for.
_ZERO = {
    "WEBPOOL_EXPLORE_SHARE", "WEBPOOL_GRPC_PORT", "WEBPOOL_HISTORY_DAYS", "WEBPOOL_KEEP_S",
    "WEBPOOL_MAX_RETRIES", "WEBPOOL_POOL_COOLDOWN_S", "WEBPOOL_POOL_SHRINK_BELOW", "WEBPOOL_STANDBYS",
    "WEBPOOL_THREADS",
}  # fmt: skip


def test_no_setting_takes_a_number_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = set()
    for name in _NUMERIC:
        for given in ("0", "-1", "1e12", "9" * 12, "nan"):
            with monkeypatch.context() as one:
                one.setenv(name, given)
                try:
                    runpy.run_path(str(ROOT / "webpool_site" / "settings.py"))
                except ImproperlyConfigured as refused:
                    assert str(refused).startswith(f"{name}: expected "), (name, given)
                else:
                    taken.add((name, given))
    assert taken == {(name, "0") for name in _ZERO}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"WEBPOOL_TENSOR_TTL_S": "200"}, "at least 2 times WEBPOOL_RUN_DEADLINE_S, 240, got 200"),
        ({"WEBPOOL_HEARTBEAT_S": "2"}, "WEBPOOL_LEASE_S: expected at least 2 times WEBPOOL_HEARTBEAT_S"),
        ({"WEBPOOL_POOL_MIN": "9"}, "WEBPOOL_POOL_MAX: expected at least WEBPOOL_POOL_MIN, 9, got 8"),
        ({"WEBPOOL_POOL_SHRINK_BELOW": "0.8"}, "or lower WEBPOOL_POOL_SHRINK_BELOW"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=said):
        runpy.run_path(str(ROOT / "webpool_site" / "settings.py"))


@pytest.mark.parametrize(
    ("given", "believed"),
    [
        ({}, []),
        ({"WEBPOOL_PRODUCTION": "1"}, ["127.0.0.1", "::1"]),
        ({"WEBPOOL_ALLOWED_HOSTS": "pool.example"}, ["127.0.0.1", "::1"]),
        ({"WEBPOOL_ALLOWED_HOSTS": "pool.example", "WEBPOOL_HOST": "0.0.0.0"}, []),
        ({"WEBPOOL_PRODUCTION": "1", "WEBPOOL_PROXIES": "none"}, []),
        ({"WEBPOOL_PROXIES": "10.0.0.0/8, ::1"}, ["10.0.0.0/8", "::1"]),
    ],
)
def test_forwarded_addresses_are_believed_of_proxies_that_were_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], believed: list[str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = runpy.run_path(str(ROOT / "webpool_site" / "settings.py"))
    assert found["WEBPOOL_PROXIES"] == believed


@pytest.mark.parametrize("given", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1,none"])
def test_a_proxy_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(NAME, given)
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}: expected IP addresses"):
        env_networks(NAME, [])


def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env={**os.environ, "WEBPOOL_HOME": str(tmp_path), "PORT": "99999"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PORT: expected a whole number" in done.stderr
