"""A caller that closes its connection frees its work: real sockets, the real web server, no browser."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from browsers.redis import client
from inference.models import OnnxModel, Run, RunState, StepState
from inference.zoo.micro import chain
from tests.support.callers import question
from tests.support.ledger import publish
from tests.support.stack import ROOT, free_port


@pytest.fixture
def port(database: None, valkey: Any, tmp_path: Path) -> Iterator[int]:
    client().flushall()
    chosen = free_port()
    env = {
        **os.environ,
        "WEBPOOL_HOME": str(settings.WEBPOOL_HOME),
        "WEBPOOL_REDIS_URL": settings.WEBPOOL_REDIS_URL,
        "WEBPOOL_DATABASE_PATH": str(connection.settings_dict["NAME"]),  # the one of this process
        "PORT": str(chosen),
    }
    argv = ["uvicorn", "webpool_site.asgi:application", "--port", str(chosen), "--lifespan", "off"]
    with (tmp_path / "web.log").open("wb") as log:
        web = subprocess.Popen(
            [sys.executable, "-m", *argv], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: answers(chosen))
        yield chosen
    finally:
        web.kill()
        web.wait()
        client().flushall()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_closed_connection_cancels_the_run_and_frees_its_inputs(
    port: int, tmp_path: Path
) -> None:
    name = f"gone-{uuid.uuid4().hex[:8]}"
    call_command("add_model", str(chain(tmp_path / "chain.onnx")), "--name", name)
    publish("a", heartbeat=time.time())
    client().pexpire("webpool:browser:a", 60_000)
    x = question(0)
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = (
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    caller = socket.create_connection(("127.0.0.1", port), timeout=60)
    caller.sendall(head.encode() + body)
    runs = Run.objects.filter(model__name=name)
    wait_until(lambda: runs.exists())
    run = runs.get()
    assert run.state == RunState.RUNNING
    wait_until(lambda: client().keys(f"webpool:tensor:{run.pk}:*"))
    caller.close()
    wait_until(lambda: runs.get().state != RunState.RUNNING, timeout_s=10)
    ended = runs.get()
    assert (ended.state, ended.error) == (RunState.CANCELLED, "the caller went away")
    assert ended.shards.get().state == StepState.CANCELLED
    wait_until(lambda: not client().keys(f"webpool:tensor:{run.pk}:*"), timeout_s=10)
    Run.objects.filter(pk=run.pk).delete()
    OnnxModel.objects.filter(name=name).delete()
