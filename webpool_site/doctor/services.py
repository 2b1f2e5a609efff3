"""What the pool stands on: database, broker, and the pool itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import redis
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from browsers import locations
from webpool_site import valkey
from webpool_site.doctor.finding import Finding, Level
from webpool_site.instance import Instance

AREA = "services"


def findings(home: Path, *, redis_url: str) -> Iterator[Finding]:
    yield _database()
    yield _broker(redis_url, pool_runs=Instance(home).running())
    yield _pool(home)


def _database() -> Finding:
    what = f"{connection.vendor} {connection.settings_dict['NAME']}"
    remedy = "make the file and its folder writable, or set WEBPOOL_HOME"
    if connection.vendor == "postgresql":
        remedy = "start the server, or mend WEBPOOL_DATABASE_URL"
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            return Finding(
                AREA,
                "database",
                Level.BAD,
                f"{what}: {len(plan)} migrations missing",
                locations.SETUP,
            )
        _write_and_undo()
    except DatabaseError as error:
        return Finding(AREA, "database", Level.BAD, f"{what}: {error}", remedy)
    return Finding(AREA, "database", Level.OK, f"{what}: migrated and writable")


class _Undo(Exception):
    """Leaves the transaction without keeping what it wrote."""


def _write_and_undo() -> None:
    from browsers.models import Browser

    try:
        with transaction.atomic():
            Browser.objects.create(id="doctor-writes", kind="none", family="none")
            raise _Undo
    except _Undo:
        pass


def _broker(url: str, *, pool_runs: bool) -> Finding:
    own = bool(os.environ.get("WEBPOOL_REDIS_URL"))
    where = "Redis of WEBPOOL_REDIS_URL" if own else "embedded Valkey"
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=None)
    try:
        info = client.info()
    except redis.RedisError as error:
        if not own and not pool_runs:
            return _embedded_at_rest(where)
        remedy = "start it, or unset WEBPOOL_REDIS_URL" if own else "see logs/valkey.log"
        return Finding(AREA, "broker", Level.BAD, f"{where} does not answer: {error}", remedy)
    finally:
        client.close()
    version = info.get("valkey_version") or info.get("redis_version")
    used_mb, cap_mb = info["used_memory"] / 2**20, info["maxmemory"] / 2**20
    capped = cap_mb > 0
    return Finding(
        AREA,
        "broker",
        Level.OK if capped else Level.NOTE,
        f"{where} {version} answers, {used_mb:.0f} MB of {f'{cap_mb:.0f}' if capped else 'any'} used",
        "" if capped else "set maxmemory and maxmemory-policy noeviction in its configuration",
        {"version": version, "used_mb": round(used_mb, 1), "cap_mb": round(cap_mb, 1) or None},
    )


def _embedded_at_rest(where: str) -> Finding:
    try:
        binary = valkey.server_binary()
    except valkey.ValkeyError as error:
        return Finding(AREA, "broker", Level.BAD, str(error), "set WEBPOOL_REDIS_URL")
    return Finding(
        AREA, "broker", Level.OK, f"{where} is installed and starts with the pool ({binary})"
    )


def _pool(home: Path) -> Finding:
    instance = Instance(home)
    if not instance.running():
        return Finding(AREA, "pool", Level.NOTE, f"none runs on {home}", locations.UP)
    facts = instance.facts()
    text = f"process {facts.get('pid')} runs it, {facts.get('address') or 'without a web server'}"
    return Finding(AREA, "pool", Level.OK, text, facts=facts)
