"""Whether a pool is whole: every browser takes work, every service is there."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import redis.exceptions

from browsers.state.live import living
from webpool_site.children import readiness
from webpool_site.lab.faults.targets import NoTarget, Target, Targets

_LOOK_EVERY_S = 0.05


class NotHealed(Exception):
    """The pool did not become whole again in time; the message says what is missing."""


def missing(home: Path, browsers: Collection[str]) -> str:
    """What of the pool is not there or takes no work; empty when it is whole."""
    try:
        ready = {browser.id for browser in living().values() if browser.state == "ready"}
    except redis.exceptions.RedisError as error:
        return f"Valkey ({error})"
    if lacking := sorted(set(browsers) - ready):
        return ", ".join(lacking)
    targets = Targets(home)
    try:
        control = targets.find(Target.CONTROL)
        targets.find(Target.WEB)
        for browser in browsers:  # its worker may not have noticed yet that it died
            targets.find(Target.PAGE, browser)
    except NoTarget as none:
        return str(none)
    if not readiness.is_ready(home / "run" / "control.ready", control.pid):
        return "the control worker is starting"
    return ""


def wait_whole(home: Path, browsers: Collection[str], *, timeout_s: float) -> None:
    """Wait until nothing is missing.

    Raises:
        NotHealed: after `timeout_s`.
    """
    until = time.monotonic() + timeout_s
    while lacking := missing(home, browsers):
        if time.monotonic() > until:
            raise NotHealed(f"not whole after {timeout_s:.0f} s: {lacking}")
        time.sleep(_LOOK_EVERY_S)
