"""Whatever was recorded, and whatever is asked: history answers, or refuses in words."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history import recording
from history.core.samples import Observation
from history.recompute import recompute
from tests.support.history import sample

pytestmark = pytest.mark.django_db(transaction=True)

_NOW = datetime.fromisoformat("2026-11-01T12:00:00")
_NUMBERS = (
    st.floats(0.1, 1e4)
    | st.sampled_from([0.0, -1.0, 5e-324, 1e-9, 1e12, 1.7e308, math.inf, math.nan])
    | st.none()
)
_TIMES = st.just(timedelta()) | st.sampled_from(
    [
        timedelta(microseconds=1),
        timedelta(seconds=3),
        timedelta(days=5),
        timedelta(days=700_000),
        timedelta(days=-2_000_000),
    ]
)
_SAMPLES = st.fixed_dictionaries(
    {
        "browser": st.sampled_from(["chromium", "firefox", "netscape"]),
        "platform": st.sampled_from(["wasm", "webgpu", None]),
        "model_name": st.sampled_from(["m", "other"]),
        "browser_version": st.sampled_from(["150", "151", None]),
        "timestamp": _TIMES.map(lambda ago: _NOW - ago),
        "latency_ms": _NUMBERS,
        "throughput_tokens_per_sec": _NUMBERS,
        "memory_mb": _NUMBERS,
        "success": st.sampled_from([True, True, True, False]),
        "concurrent": st.sampled_from([0, 3, 2**31 - 1]),
        "error_type": st.sampled_from([None, "timeout", "model_incompatible"]),
    }
)
_HISTORIES = st.lists(st.tuples(_SAMPLES, st.integers(1, 12)), max_size=8)
_ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("performance", {}),
    ("performance", {"browser": "firefox", "model_name": "nobody", "days": 36_499}),
    ("recommendation", {"model_type": "text", "model_name": "m"}),
    ("recommendation", {"model_type": "text", "model_name": "nobody"}),
    ("scores", {}),
    ("comparison", {"model_type": "text", "model_name": "m"}),
    ("trends", {"model_name": "m", "days": 36_499}),
    ("trends", {"browser": "firefox"}),
    ("anomalies", {"days": 36_499}),
    ("anomalies", {"model_name": "nobody"}),
    ("regressions", {}),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any, valkey: Any) -> Path:
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history" / "history.duckdb"
    settings.WEBPOOL_HISTORY_DAYS = 36_000.0
    return tmp_path


@pytest.fixture
def client() -> Client:
    """Of this machine: such a caller needs no key."""
    return Client(headers={"Host": "127.0.0.1"})


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(_HISTORIES)
def test_any_history_can_be_asked(client: Client, home: Path, drawn: Any) -> None:
    for old in (home / "history").glob("*"):
        old.unlink()
    with recording.open_store() as store:
        store.record(list(_observations(drawn)))
    recompute()
    for path, query in _ASKED:
        answer = client.get(f"/api/history/{path}/", query)
        assert answer.status_code == 200, (path, query, answer.content)
        json.loads(answer.content, parse_constant=_refuse)
    metrics = {"latency_ms": 1.7e308, "memory_mb": 5e-324}
    judged = _judge(client, metrics=metrics)
    assert judged.status_code == 200, judged.content
    json.loads(judged.content, parse_constant=_refuse)


def _observations(drawn: Any) -> Any:
    number = 0
    for fields, count in drawn:
        for _ in range(count):
            number += 1
            one: Observation = sample(source="made", source_id=number, **fields)
            yield one


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def _judge(client: Client, **changes: Any) -> Any:
    asked = {
        "browser": "chromium", "model_type": "text", "model_name": "m", "platform": "wasm",
        "metrics": {"latency_ms": 1.0}, **changes,
    }  # fmt: skip
    return client.post("/api/history/anomalies/judge/", asked, content_type="application/json")


_WORDS = st.text(max_size=20) | st.sampled_from(
    ["chromium", "nan", "inf", "1e999", "-1", "9" * 400]
)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([path for path, _ in _ASKED]),
    st.dictionaries(
        st.sampled_from(
            ["browser", "model_type", "model_name", "days", "limit", "platform", "state"]
        ),
        _WORDS,
    ),
)
def test_any_question_is_answered_or_refused(client: Client, path: str, query: Any) -> None:
    asked = {"model_type": "text", "model_name": "m", **query}
    assert client.get(f"/api/history/{path}/", asked).status_code in (200, 400, 422)


@pytest.mark.parametrize(
    "body",
    [
        '{"metrics": {"latency_ms": NaN}}', '{"metrics": {"latency_ms": Infinity}}',
        '{"metrics": {"latency_ms": 1' + "0" * 400 + "}}",
        '{"metrics": {"\\ud800": 1}}', '{"model_name": "\\ud800"}', '{"browser": "\\ud800"}',
        '{"browser": "\\u0000"}', '{"metrics": []}', "[]", "1" + "0" * 5000,
    ],
)  # fmt: skip
def test_a_judgement_that_cannot_be_asked_is_refused(client: Client, body: str) -> None:
    whole = {
        "browser": "chromium", "model_type": "text", "model_name": "m", "platform": "wasm",
        "metrics": {"latency_ms": 1.0},
    }  # fmt: skip
    if body.startswith("{"):
        changed = body[1:-1]
        rest = {k: v for k, v in whole.items() if f'"{k}"' not in changed}
        body = "{" + changed + ", " + json.dumps(rest)[1:]
    answer = client.post("/api/history/anomalies/judge/", body, content_type="application/json")
    assert answer.status_code in (400, 422), answer.content
