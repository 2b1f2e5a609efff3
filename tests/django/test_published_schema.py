"""/api/ does what /api/schema/ says: schemathesis sends what the schema allows, and what it does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from browsers.models import Browser
from browsers.redis import client
from inference import auth
from inference.models import ApiKey, OnnxModel, Run
from inference.models.batches import BatchJob
from tests.support.batches import chain_model, new_job
from tests.support.comparisons import comparison_row
from tests.support.ledger import make_run, publish

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def known(database: None, valkey: Any, tmp_path_factory: Any) -> Iterator[Mapping[str, str]]:
    """One of everything that a path can name."""
    folder = tmp_path_factory.mktemp("schema")
    client().flushall()
    for browser in ("a", "b"):
        Browser.objects.create(id=browser, kind="chromium", family="chromium")
        publish(browser)
    model = chain_model(folder, f"chain-{uuid.uuid4().hex[:6]}")
    run = make_run()
    job = new_job(model, folder)
    comparison = comparison_row(model, owner="somebody")
    yield {
        "comparison_id": str(comparison.pk),
        "name": model.name, "run_id": str(run.pk), "job_id": str(job.pk), "browser": "a",
        "plan": str(run.plan_id), "shard": str(run.shards.values_list("pk", flat=True)[0]),
    }  # fmt: skip
    for rows in (BatchJob, Run, OnnxModel, Browser, ApiKey):
        rows.objects.all().delete()
    client().flushall()


@pytest.fixture(scope="module")
def published(known: Mapping[str, str]) -> Any:
    """The schema, with the application behind it, asked by a caller of this machine."""
    handler = WSGIHandler()

    def local(environ: dict[str, Any], start_response: Any) -> Any:
        return handler({**environ, "REMOTE_ADDR": "127.0.0.1"}, start_response)

    return schemathesis.openapi.from_wsgi("/api/schema/", local)


def test_every_operation_has_a_tag_and_a_summary() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    operations = [(at, each) for at, path in paths.items() for each in path.values()]
    assert {"v1", "v2", "runs", "models", "browsers"} <= {each["tags"][0] for _, each in operations}
    for at, each in operations:
        assert len(each["tags"]) == 1 and each["tags"] != ["api"], at
        assert 3 < len(each["summary"]) < 100 and not each["summary"].endswith("."), at


# It is asked below WSGI, where Django reads a whole stream first; uvicorn, which serves it, does not.
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_every_operation_answers_as_it_says(published: Any, known: Mapping[str, str]) -> None:
    _, key = auth.create_key(f"schema-{uuid.uuid4().hex[:6]}")
    wrong = {}
    for found in published.exclude(path_regex="^/v[12]/").get_all_operations():  # no view of REST
        operation = found.ok()
        try:
            _ask(operation, known, {"Authorization": f"Bearer {key}"})
        except BaseExceptionGroup as error:
            wrong[operation.label] = "\n".join(str(one) for one in error.exceptions)
        except AssertionError as error:
            wrong[operation.label] = str(error)
    assert not wrong, "\n\n".join(f"{label}: {said}" for label, said in wrong.items())


def _ask(operation: Any, known: Mapping[str, str], headers: Mapping[str, str]) -> None:
    """Send what schemathesis makes of the operation, as it is, and to something that is there."""

    @given(operation.as_strategy())
    @settings(
        max_examples=4,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def each(case: Any) -> None:
        case.call_and_validate(headers=dict(headers), checks=CHECKS)
        if case.path_parameters and case.method != "DELETE":
            case.path_parameters = {
                name: _known(case.path, name, known) for name in case.path_parameters
            }
            case.call_and_validate(headers=dict(headers), checks=CHECKS)

    each()


def _known(path: str, name: str, known: Mapping[str, str]) -> str:
    if name not in ("pk", "id"):
        return known[name]
    return known[path.split("/")[2].removesuffix("s")]
