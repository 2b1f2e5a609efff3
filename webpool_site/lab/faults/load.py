"""Constant load: what is refused is asked again, and every answer is checked."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import redis.exceptions
from django.conf import settings
from django.db import DatabaseError

from inference.errors import Busy, RunFailed, Unavailable
from inference.graph.reference import equal
from inference.runs import creation
from inference.runs.answers import collect, wait_run
from inference.store.tensors import decode_array
from webpool_site.lab.faults.callers import AGAIN_S, Callers
from webpool_site.lab.faults.work import Question

OWNER = "fire"
DEADLINE_S = 400.0
WAYS: tuple[dict[str, Any], ...] = (
    {"strategy": "none"},
    {"strategy": "layer", "shards": 2},
    {"strategy": "data", "shards": 2},
)
# Only where two browsers are left when one cannot be started any more.
REDUNDANT: tuple[dict[str, Any], ...] = (
    {"strategy": "layer", "shards": 2, "redundancy": "first"},
    {"strategy": "none", "redundancy": "compare"},
)
_FEWEST_FOR_REDUNDANCY = 3
_HTTP_TIMEOUT_S = 180.0


class Load(Callers):
    """Most callers come through the Python door, one over HTTP.

    `max_retries` and `deadline_s` of its runs are high: a run is hurt many times, and must be answered.

    Attributes:
        answered: runs with a right answer, `wrong`: with another one.
        failed: runs that ended without an answer, with the reason.
        asked_again: questions over HTTP whose connection broke, so that nobody knows what became of them.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        light: Sequence[Question],
        *,
        callers: int,
        seed: int,
        browsers: int,
    ) -> None:
        super().__init__()
        self._questions, self._light = questions, light
        self._ways = WAYS + (REDUNDANT if browsers >= _FEWEST_FOR_REDUNDANCY else ())
        self.asked: set[uuid.UUID] = set()
        self.answered: set[uuid.UUID] = set()
        self.wrong: list[str] = []
        self.failed: dict[str, RunFailed] = {}
        self.http_answered = 0
        self.asked_again = 0
        for number in range(callers):
            self._add(self._ask, f"{seed}/{number}")
        self._add(self._ask_http, f"{seed}/http")

    def _ask(self, draw: random.Random) -> None:
        question, way = draw.choice(self._questions), draw.choice(self._ways)
        wanted = question.asked(owner=OWNER, max_retries=100, deadline_s=DEADLINE_S, **way)
        try:
            run = creation.create_run(wanted)
        except (Unavailable, Busy, DatabaseError, redis.exceptions.RedisError) as refusal:
            self._refused(type(refusal).__name__)
            return
        except Exception as error:
            self._unexpected("asking", error)
            return
        with self._lock:
            self.asked.add(run.pk)
        try:
            run = _patiently(lambda: wait_run(run))
            outputs = _patiently(lambda: collect(run))
        except RunFailed as failure:
            with self._lock:
                self.failed[str(run.pk)] = failure
        except Exception as error:
            self._unexpected(f"waiting for {run.pk}", error)
        else:
            right = question.is_right(outputs)
            with self._lock:
                (self.answered.add if right else lambda pk: self.wrong.append(str(pk)))(run.pk)

    def _ask_http(self, draw: random.Random) -> None:
        question = draw.choice(self._light)
        try:
            answer = _post(question)
        except (OSError, ValueError) as broken:
            with self._lock:
                self.asked_again += 1
            self._refused(f"HTTP {getattr(broken, 'code', 'connection')}")
            return
        got = {item["name"]: item for item in answer["outputs"]}
        right = all(
            equal(np.reshape(np.array(got[n]["data"], np.float32), got[n]["shape"]), expected)
            for n, expected in question.answer.items()
        )
        with self._lock:
            self.http_answered += right
            if not right:
                self.wrong.append(answer["parameters"]["run"])


def _patiently(ask: Any) -> Any:
    """A caller whose store or database is away asks again."""
    while True:
        try:
            return ask()
        except (redis.exceptions.RedisError, DatabaseError):
            time.sleep(AGAIN_S)


def _post(question: Question) -> dict[str, Any]:
    inputs = [
        {
            "name": tensor.name,
            "datatype": "INT64",
            "shape": list(tensor.shape),
            "data": decode_array(tensor).ravel().tolist(),
        }
        for tensor in question.inputs
    ]
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.PORT}/v2/models/{question.model}/infer",
        json.dumps(
            {"inputs": inputs, "parameters": {"max_retries": 100, "deadline_s": DEADLINE_S}}
        ).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S) as answer:  # noqa: S310
        said: dict[str, Any] = json.load(answer)
    return said
