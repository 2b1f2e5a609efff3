"""One key's slow uploads, in real processes, and the others' beside them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference import auth, sandbox
from inference.batches import jobs
from inference.catalog import plans
from inference.errors import InvalidRequest
from inference.models import ApiKey, OnnxModel, Plan
from inference.sandbox.helper import _NUMBERS, helper
from inference.sandbox.places import MOST_WAITING
from inference.zoo import micro
from tests.support import small_models
from tests.support.asgi import Answered, ask
from tests.support.doors import multipart

SOON_S = 120.0


@pytest.fixture
def keys(database: None) -> Iterator[dict[str, str]]:
    yield {name: auth.create_key(name)[1] for name in ("greedy", "other")}
    ApiKey.objects.all().delete()
    OnnxModel.objects.all().delete()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(MOST_WAITING + 2) as made:
        yield made


def send(key: str, path: str, fields: dict[str, str], file: Path) -> Answered:
    body, headers = multipart(fields, [("file", file)])
    return ask("POST", path, body, {**headers, "Authorization": f"Bearer {key}"})


def upload(key: str, file: Path) -> Answered:
    return send(key, "/api/models/", {"name": f"m-{uuid.uuid4().hex[:6]}"}, file)


def end_all(pending: list[Future[Answered]]) -> list[Answered]:
    """Whatever their jobs compute is killed, one after another, until all are answered."""
    while wait(pending, 0.05).not_done:
        for child in psutil.Process(helper().pid).children():
            child.kill()
    return [one.result() for one in pending]


def test_one_keys_endless_uploads_hold_up_nobody_else(
    keys: dict[str, str], threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    (tmp_path / "endless.onnx").write_bytes(small_models.endless())
    well = micro.chain(tmp_path / "well.onnx")
    sent = [
        threads.submit(upload, keys["greedy"], tmp_path / "endless.onnx")
        for _ in range(MOST_WAITING + 2)
    ]
    try:
        ((refused,), others) = wait(sent, SOON_S, FIRST_COMPLETED)
        answered = refused.result()
        assert (answered.status, answered.headers["retry-after"]) == (429, "5")
        assert f"{MOST_WAITING} of key greedy wait already" in answered.json()["error"]
        assert upload(keys["other"], well).status == 201
        assert not any(one.done() for one in others)
    finally:
        ended = end_all(sent)
    assert sorted(one.status for one in ended) == [*[400] * (MOST_WAITING + 1), 429]
    again = [threads.submit(upload, keys["greedy"], well) for _ in range(MOST_WAITING + 1)]
    statuses = [one.result(SOON_S).status for one in again]
    assert statuses == [201] * (MOST_WAITING + 1), "as many as may wait are served, each to its end"


def test_the_admins_uploads_wait_in_their_users_turn(
    keys: dict[str, str], staff: Any, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """The page knows who asks, as the doors for programs do."""
    path = tmp_path / "endless.onnx"
    path.write_bytes(small_models.endless())

    def by_form() -> Any:
        with path.open("rb") as file:
            form = {"name": f"m-{uuid.uuid4().hex[:6]}", "model_type": "other", "file": file}
            return staff.post("/admin/inference/onnxmodel/add/", form).content.decode()

    sent: list[Future[Any]] = [threads.submit(by_form) for _ in range(MOST_WAITING + 2)]
    try:
        ((refused,), _) = wait(sent, SOON_S, FIRST_COMPLETED)
        assert f"{MOST_WAITING} of operator wait already" in refused.result()
        assert upload(keys["other"], micro.chain(tmp_path / "well.onnx")).status == 201
    finally:
        end_all(sent)


def test_a_keys_batch_files_are_read_one_after_another(
    keys: dict[str, str], batch_model: OnnxModel, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    def start(key: str, number: int) -> Answered:
        lines = tmp_path / f"{key}-{number}.jsonl"
        lines.write_text(json.dumps({"x": [float(number)] * 4}) + "\n")
        return send(keys[key], "/api/batches/", {"model": batch_model.name}, lines)

    with sandbox.on_behalf_of("key greedy"), jobs._FILES.taken():  # its first one, which is long
        sent = [threads.submit(start, "greedy", number) for number in range(MOST_WAITING + 1)]
        ((refused,), others) = wait(sent, SOON_S, FIRST_COMPLETED)
        assert refused.result().status == 429
        assert start("other", 0).status == 202
        assert not any(one.done() for one in others)
    assert [one.result(SOON_S).status for one in others] == [202] * MOST_WAITING


@pytest.mark.parametrize(("shards", "most_jobs"), [(2, 2), (3, 1)], ids=["done", "refused"])
def test_a_burst_of_requests_for_a_new_plan_is_one_cut(
    batch_model: OnnxModel, shards: int, most_jobs: int
) -> None:
    """Else who asks first for a model, many times at once, is refused for what is cut once."""
    many = 2 * MOST_WAITING

    def cut() -> str:
        try:
            with sandbox.on_behalf_of("key greedy"):
                return str(plans.ensure_plan(batch_model, "layer", shards, tenant="key greedy").pk)
        except InvalidRequest as refusal:
            return str(refusal)

    before = next(_NUMBERS)
    with ThreadPoolExecutor(many) as threads:
        with sandbox.on_behalf_of("key greedy"), sandbox.PLACES.taken():
            asked = [threads.submit(cut) for _ in range(many)]
            until = time.monotonic() + SOON_S
            while plans._CUTTING.asked.total() < many:
                assert time.monotonic() < until
                assert not any(one.done() for one in asked)
        (said,) = {one.result(SOON_S) for one in asked}
    done = [str(plan.pk) for plan in Plan.objects.filter(model=batch_model)]
    assert [said] == done if shards == 2 else "layer" in said and not done
    # A file of the same bytes may have its answers from another test.
    assert 1 <= next(_NUMBERS) - before - 1 <= most_jobs, "a cut and its answers, or one refusal"
    assert not plans._CUTTING.asked
