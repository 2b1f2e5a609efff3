"""Read settings from the environment; a value of the wrong form is a clear error at start."""

from __future__ import annotations

import ipaddress
import math
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from browsers.core import flags

PRIVATE_FOLDER = 0o700
_FOLDERS = (
    "batches", "comparisons", "files", "history", "known_answers", "logs", "models", "profiles", "run",
)  # fmt: skip
_YEAR_S, _MOST_DAYS, _MOST_GB = 31_536_000, 36_500, 4096
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def env_int(name: str, default: int, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number from `least` to `most`."""
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    found = int(raw) if raw.isdecimal() and len(raw) <= len(str(most)) else -1
    if not least <= found <= most:
        raise ImproperlyConfigured(
            f"{name}: expected a whole number from {least} to {most}, such as {default}, got {raw!r:.100}"
        )
    return found


def env_float(name: str, default: float, *, least: float = 0, most: float = _YEAR_S) -> float:
    """A number from `least` to `most`."""
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        found = float(raw)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise ImproperlyConfigured(
            f"{name}: expected a number from {least:g} to {most:.8g}, such as {default:g}, got {raw!r:.100}"
        )
    return found


def env_memory_mb(name: str, default_gb: float) -> float:
    """So many GB, in MB."""
    return env_float(name, default_gb, least=0.1, most=_MOST_GB) * 1024


def env_days(name: str, default: float, *, least: float = 0) -> float:
    return env_float(name, default, least=least, most=_MOST_DAYS)


def env_share(name: str, default: float, *, least: float = 0.01) -> float:
    """A part of a whole, at most all of it."""
    return env_float(name, default, least=least, most=1)


def in_order(found: Mapping[str, Any], less: str, more: str, *, times: float = 1) -> None:
    """Two settings of which one bounds the other.

    Raises:
        ImproperlyConfigured: `more` is less than so many times `less`.
    """
    least = found[less] * times
    if found[more] < least:
        of = less if times == 1 else f"{times:g} times {less}"
        raise ImproperlyConfigured(
            f"{more}: expected at least {of}, {least:g}, got {found[more]:g}; raise it, or lower {less}"
        )


def env_bool(name: str, default: bool) -> bool:
    raw = os.environ.get(name, "").lower()
    if raw in ("1", "true", "yes", "on"):
        return True
    if raw in ("0", "false", "no", "off"):
        return False
    if raw:
        raise ImproperlyConfigured(f"{name}: expected 1 or 0, got {raw!r}")
    return default


def env_list(name: str, default: list[str]) -> list[str]:
    raw = os.environ.get(name, "")
    return [part.strip() for part in raw.split(",") if part.strip()] if raw else default


def env_origins(name: str) -> list[str]:
    """Origins of pages, such as https://app.example: as browsers write them, scheme, host and port.

    That is in small letters, without a path, and without the port that the scheme has anyway.
    """
    origins = env_list(name, [])
    for origin in origins:
        parts = urlsplit(origin)
        usual = {"http": ":80", "https": ":443"}.get(parts.scheme)
        written = f"{parts.scheme}://{parts.netloc.lower()}"
        if usual is None or origin != written or origin.endswith(usual):
            raise ImproperlyConfigured(
                f"{name}: expected origins such as https://app.example, by comma, got {origin!r}; pages of "
                "any site are not let in"
            )
    return origins


def env_networks(name: str, default: list[str]) -> list[str]:
    """IP addresses and networks such as 10.0.0.0/8, by comma; `none`: none."""
    given = env_list(name, default)
    if given == ["none"]:
        return []
    for each in given:
        try:
            ipaddress.ip_network(each)
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{name}: expected IP addresses or networks such as 10.0.0.0/8, by comma, or none; {error}"
            ) from None
    return given


def env_some_of(name: str, choices: list[str]) -> list[str]:
    """Some of the choices, all of them by default."""
    chosen = env_list(name, choices)
    if unknown := [each for each in chosen if each not in choices]:
        raise ImproperlyConfigured(
            f"{name}: expected some of {','.join(choices)}, got {','.join(unknown)!r}"
        )
    return chosen


def env_flags(name: str) -> list[str]:
    """Further flags for the Chromiums that are started here; see browsers/core/flags.py."""
    try:
        return flags.further(os.environ.get(name, ""))
    except flags.BadFlags as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def env_level(name: str, default: str) -> str:
    """How much is logged."""
    level = os.environ.get(name, "").upper() or default
    if level not in _LEVELS:
        raise ImproperlyConfigured(
            f"{name}: expected one of {', '.join(_LEVELS)}, got {level!r:.100}"
        )
    return level


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def private_home(home: Path) -> None:
    """Make the home and its folders, which only this user may enter.

    Raises:
        ImproperlyConfigured: it is a folder that others use, or cannot be made.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        found = home.stat()
        if found.st_mode & stat.S_ISVTX or found.st_uid != os.geteuid():
            raise ImproperlyConfigured(
                f"WEBPOOL_HOME: expected a folder of this user's own, as nobody else may enter it; "
                f"{home} belongs to user {found.st_uid} or is one for everybody. Name another"
            )
        for folder in (home, *(home / name for name in _FOLDERS)):
            folder.mkdir(
                exist_ok=True, mode=PRIVATE_FOLDER
            )  # scripts that open it have their own umask
            _close(folder)
    except OSError as error:
        raise ImproperlyConfigured(
            f"WEBPOOL_HOME: {home} cannot be made or written ({error}); name another folder"
        ) from error


def _close(folder: Path) -> None:
    """To everybody else; a link to a folder elsewhere is its owner's affair."""
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if own and stat.S_IMODE(found.st_mode) != PRIVATE_FOLDER:
        folder.chmod(PRIVATE_FOLDER)


def load_secret_key(path: Path) -> str:
    """Return the key kept in `path`, made at the first start and readable by the owner only."""
    if key := os.environ.get("WEBPOOL_SECRET_KEY"):
        return key
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        key = secrets.token_urlsafe(64)
        file.write(key)
    return key


def redis_url(home: Path) -> str:
    """The Redis (or Valkey) URL: `WEBPOOL_REDIS_URL`, else the running pool's, else the embedded one's."""
    from redis.connection import parse_url

    from webpool_site import valkey

    if url := os.environ.get("WEBPOOL_REDIS_URL"):
        try:
            parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError:  # its words may repeat a part of the password
            raise ImproperlyConfigured(
                "WEBPOOL_REDIS_URL: expected redis://HOST:PORT/0, rediss://HOST:PORT/0 or unix://PATH, with "
                "what is special in a password written as %40 and the like"
            ) from None
        return url
    try:
        return (home / "run" / "redis.url").read_text().strip()
    except FileNotFoundError:
        return valkey.url(home)
