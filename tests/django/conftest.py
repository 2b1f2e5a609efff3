"""What tests of the admin, of batch jobs, and of sessions share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import Client

from browsers.models import Browser
from browsers.redis import client
from inference import auth
from inference.catalog import registry
from inference.catalog.plans import clear_cache
from inference.generation import watch
from inference.models import ApiKey, GenerationSession, OnnxModel, Run
from inference.models.batches import BatchJob
from tests.support import decoders
from tests.support.batches import chain_model, new_job
from tests.support.comparisons import comparison_row
from tests.support.ledger import make_run, publish
from tests.support.loops import PROMPT, TOKENS


@pytest.fixture
def staff(database: None) -> Iterator[Client]:
    """A visitor who is logged in as `operator`, who may do everything."""
    user = get_user_model().objects.create_superuser("operator", password="right")
    visitor = Client(headers={"host": "localhost"})
    visitor.force_login(user)
    yield visitor
    user.delete()


@pytest.fixture
def caller_key(database: None) -> Iterator[str]:
    row, key = auth.create_key("caller")
    yield key
    row.delete()


@pytest.fixture(scope="module")
def asked_model(database: None, valkey: Any, tmp_path_factory: Any) -> Iterator[OnnxModel]:
    """A chain in a pool of two browsers, of which nobody computes: a run that is right is late at once."""
    client().flushall()
    publish("a")
    publish("b")
    before = settings.WEBPOOL_RUN_DEADLINE_S
    settings.WEBPOOL_RUN_DEADLINE_S = 0.05  # no worker is there to compute what was right
    name = f"chain-{uuid.uuid4().hex[:6]}"
    yield chain_model(tmp_path_factory.mktemp("hostile"), name)
    settings.WEBPOOL_RUN_DEADLINE_S = before
    for rows in (BatchJob, Run, OnnxModel, User):
        rows.objects.all().delete()
    client().flushall()


@pytest.fixture
def batch_model(database: None, valkey: Any, tmp_path: Path) -> Iterator[OnnxModel]:
    """A chain, in a pool of two browsers; its jobs and runs go with it."""
    client().flushall()
    publish("a")
    publish("b")
    made = chain_model(tmp_path, f"chain-{uuid.uuid4().hex[:6]}")
    yield made
    BatchJob.objects.all().delete()
    Run.objects.all().delete()
    OnnxModel.objects.filter(pk=made.pk).delete()
    clear_cache()
    client().flushall()


@pytest.fixture(scope="module")
def decoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoders.write(tmp_path_factory.mktemp("decoder")).onnx


@pytest.fixture
def writer(decoder_file: Path) -> Iterator[OnnxModel]:
    """A decoder in a pool of three browsers, of which nobody computes; its sessions go with it."""
    known = OnnxModel.objects.filter(name="writer").first()
    model = known or registry.add_model(decoder_file, name="writer", drawn=True)
    for browser in ("a", "b", "c"):
        publish(browser, memory_limit_mb=4000.0)
    yield model
    GenerationSession.objects.all().delete()


@pytest.fixture
def model(decoder_file: Path, settings: Any) -> Iterator[OnnxModel]:
    """A decoder for tests that make the browsers of its pool themselves (tests/support/loops.py)."""
    settings.WEBPOOL_KEEP_S = 0
    known = OnnxModel.objects.filter(name="stood-by").first()
    yield known or registry.add_model(decoder_file, name="stood-by", drawn=True)
    GenerationSession.objects.all().delete()


@pytest.fixture
def right(decoder_file: Path) -> list[int]:
    """What it writes after PROMPT."""
    return decoders.greedy(decoder_file, list(PROMPT), TOKENS)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher looks at sessions at every turn, and leaves nothing to the browsers' workers."""
    monkeypatch.setattr(watch, "_WRITE_EVERY_S", 0.0)
    monkeypatch.setattr(watch, "_BEYOND_S", 0.0)


@pytest.fixture
def world(database: None, valkey: Any, tmp_path: Any) -> Iterator[dict[str, str]]:
    """One of everything, owned by somebody else."""
    client().flushall()
    for browser in ("a", "b"):
        Browser.objects.create(id=browser, kind="chromium", family="chromium")
        publish(browser)
    model = chain_model(tmp_path, "permitted")
    run, job = make_run(owner="somebody"), new_job(model, tmp_path, owner="somebody")
    comparison = comparison_row(model, owner="somebody")
    yield {
        "browsers": "a", "models": model.name, "runs": str(run.pk), "batches": str(job.pk),
        "comparisons": str(comparison.pk),
        "plans": str(run.plan_id), "shards": str(run.shards.values_list("pk", flat=True)[0]),
    }  # fmt: skip
    for rows in (BatchJob, Run, OnnxModel, Browser, ApiKey, User):
        rows.objects.all().delete()
    client().flushall()
