"""The pages that people meet first: what they say, where they lead, and what they find."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views import defaults

from browsers.models import BackendProof, Browser, BrowserState
from browsers.redis import client
from inference.models import Attempt, OnnxModel, Outcome, Run, RunState, StepState
from inference.store import tensors
from tests.support.ledger import make_run, publish


@pytest.fixture
def run(clean: None) -> Iterator[Run]:
    """A run of two shards, of which the first waits for its browser."""
    Browser.objects.create(id="a", kind="a", family="a", state=BrowserState.READY)
    publish("a")
    made = make_run(owner="operator")
    yield made
    OnnxModel.objects.filter(pk=made.model_id).delete()


def words(html: str, element: str) -> str:
    """The words of the element with an id, up to the next element with one."""
    found = re.search(rf'id="{element}"[^>]*>(.*?)(?= id=")', html, re.DOTALL)
    assert found, f"{element} is not on the page"
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def finish(run: Run) -> np.ndarray[Any, Any]:
    """The run succeeded: its first output is in the store."""
    values = np.arange(20, dtype=np.float32).reshape(4, 5) + 0.123456
    text = np.array(["one", "two"], dtype=object)
    refs = tensors.store(
        run.pk, [tensors.encode_array("t2", values), tensors.encode_array("said", text)]
    )
    outputs = {"t2": refs[0].to_json(), "said": refs[1].to_json()}
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        state=RunState.SUCCEEDED, outputs=outputs, finished_at=now, error="", error_category=""
    )
    for shard in run.shards.all():
        Attempt.objects.create(
            shard=shard, number=1, outcome=Outcome.SUCCEEDED, browser="a", browser_version="157",
            backend="wasm", nodes={"CPUExecutionProvider": 7}, compute_ms=85.94410956242984,
            started_at=now, finished_at=now,
        )  # fmt: skip
    run.shards.update(state=StepState.DONE, browser="a", attempts=1)
    return values


def test_the_first_page_says_what_webpool_is_to_anybody(database: None) -> None:
    page = Client(headers={"host": "localhost"}).get("/")
    assert page.status_code == 200
    said = page.content.decode()
    for part in ("ONNX models", 'href="/admin/"', 'href="/api/docs/"', "add_model my.onnx"):
        assert part in said


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (defaults.server_error, "Something went wrong"),
        (lambda request: defaults.bad_request(request, ValueError()), "cannot be read"),
    ],
)
def test_what_went_wrong_has_a_page(view: Any, says: str) -> None:
    page = view(RequestFactory().get("/")).content.decode()
    assert says in page
    assert 'name="viewport"' in page and "inference/home.css" in page


def test_a_right_password_leads_to_the_admin_also_without_next(staff: Client) -> None:
    visitor = Client(headers={"host": "localhost"})
    login = {"username": "operator", "password": "right"}
    answer = visitor.post("/admin/login/", login, follow=True)
    assert (answer.status_code, answer.redirect_chain) == (200, [("/admin/", 302)])
    assert "The pool:" in answer.content.decode()


def test_the_sidebar_has_what_webpool_needs_and_nothing_else(staff: Client, run: Run) -> None:
    page = staff.get("/admin/").content.decode()
    for place in ("/admin/pool/", "/admin/pictures/latency/", "/admin/inference/auditentry/"):
        assert f'href="{place}"' in page
    for place in ("solarschedule", "crontabschedule", "clockedschedule"):
        assert place not in page
        assert staff.get(f"/admin/django_celery_beat/{place}/").status_code == 404
    reader = get_user_model().objects.create_user("reader", password="x", is_staff=True)
    limited = Client(headers={"host": "localhost"})
    limited.force_login(reader)
    assert "/admin/inference/auditentry/" not in limited.get("/admin/").content.decode()
    reader.delete()


def test_search_finds_models_and_runs_by_name_and_id(staff: Client, run: Run) -> None:
    for asked in (run.model.name, str(run.pk)[:8], str(run.pk)):
        found = staff.get("/admin/search/", {"s": asked, "extended": "1"}).content.decode()
        kind = "onnxmodel" if asked == run.model.name else "run"
        pk = run.model_id if kind == "onnxmodel" else run.pk
        assert f"/admin/inference/{kind}/{pk}/change/" in found, asked
    short = staff.get("/admin/search/", {"s": str(run.pk)[:2], "extended": "1"}).content.decode()
    assert "/admin/inference/run/" not in short, "two digits are no id"


def test_a_run_says_who_computed_it_and_shows_its_outputs(staff: Client, run: Run) -> None:
    address = f"/admin/inference/run/{run.pk}/change/"
    before = staff.get(address).content.decode()
    assert f'data-rows="/admin/inference/run/{run.pk}/now/"' in before, "it renews itself"
    values = finish(run)
    page = staff.get(address).content.decode()
    assert "data-rows" not in page, "nothing changes any more"
    assert "succeeded" in words(page, "run-facts")
    shown = words(page, "run-outputs")
    assert "float32 4 × 5 80 bytes 0.123, 1.12, 2.12" in shown
    assert "one, two" in shown
    assert "shard 0 done a 157 wasm 7 nodes on CPUExecutionProvider" in words(page, "run-shards")
    assert "85.9 ms" in words(page, "run-shards")
    assert "webpool:tensor" not in page
    assert not re.search(r">\s*null\b", page)
    link = re.search(r'href="(/api/runs/[^"]+names=t2)"', page)
    assert link
    downloaded = staff.get(link[1]).json()["outputs"][0]
    assert np.allclose(np.array(downloaded["data"]).reshape(4, 5), values)
    client().flushall()
    gone = staff.get(address).content.decode()
    assert "given up by the store" in words(gone, "run-outputs")


def bytes_of_pages(staff: Client, shards: int) -> dict[str, int]:
    run = make_run(shards=shards)
    finish(run)
    pages = {
        "run": f"run/{run.pk}/change/", "now": f"run/{run.pk}/now/", "plan": f"plan/{run.plan_id}/change/",
    }  # fmt: skip
    found = {
        name: len(staff.get(f"/admin/inference/{page}").content) for name, page in pages.items()
    }
    run.model.delete()
    return found


def test_the_page_of_a_run_in_many_shards_is_small(staff: Client, run: Run) -> None:
    few, many = bytes_of_pages(staff, 10), bytes_of_pages(staff, 210)
    of_each = {name: (many[name] - few[name]) / 200 for name in few}
    assert of_each["now"] < 900, "it is asked for every second while a run goes on"
    assert of_each["run"] < 1000
    assert of_each["plan"] < 150


def test_what_does_not_fit_a_table_follows_on_further_pages(staff: Client, run: Run) -> None:
    plan = make_run(shards=60).plan
    address = f"/admin/inference/plan/{plan.pk}/change/"
    first = staff.get(address).content.decode()
    assert "1 to 50 of 60" in " ".join(first.split())
    link = re.search(r'href="(\?shards-page=2)#shards-group"', first)
    assert link
    second = words(staff.get(address + link[1]).content.decode(), "shards-data")
    assert "t59 float32 batch" in second and "t49 float32 batch" not in second
    plan.model.delete()


def test_a_run_that_failed_says_so_first(staff: Client, run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(
        state=RunState.FAILED, error_category="timeout", error="nobody <b>answered</b>"
    )
    page = staff.get(f"/admin/inference/run/{run.pk}/change/").content.decode()
    assert page.index('id="run-error"') < page.index('id="run-facts"')
    assert "timeout: nobody &lt;b&gt;answered&lt;/b&gt;" in page


def test_a_model_is_summed_up(staff: Client, run: Run) -> None:
    model = run.model
    cut = {
        "after_nodes": 3,
        "cost_before": 0.5,
        "tensors": ["t1"],
        "tensor_count": 1,
        "bytes": 2048,
    }
    model.summary = {
        "operators": {"Add": 2, "MatMul": 12}, "producer": "pytorch 2", "opsets": {"ai.onnx": 17},
        "layers": 2, "cuts": [cut],
    }  # fmt: skip
    model.save()
    BackendProof.objects.create(
        sha256=model.sha256, kind="a", version="157", runtime="r", host="h", backend="webgpu",
        verdict="wrong", reason="t1 differs by 0.5",
    )  # fmt: skip
    page = staff.get(f"/admin/inference/onnxmodel/{model.pk}/change/").content.decode()
    assert "t0 float32 batch" in words(page, "model-inputs")
    assert words(page, "model-operators").startswith("MatMul&nbsp;12, Add&nbsp;2")
    assert "webgpu wrong t1 differs" in words(page, "model-proofs")
    assert f"/api/models/{model.name}/" in page
    assert "2 KB" in page
    assert "<pre" not in page
    BackendProof.objects.all().delete()


# Lists that people alone change, now and then.
PEOPLES = {"auth/user", "auth/group", "inference/apikey", "django_celery_beat/intervalschedule"}


def test_every_page_that_may_have_changed_says_of_when_it_is(
    admin_client: Client, run: Run
) -> None:
    lists = {f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry}
    model = run.model
    (step,) = run.shards.all()[:1]
    paths = [f"{one}/" for one in sorted(lists - PEOPLES)]
    paths += [f"pictures/{one}/" for one in ("latency", "scores", "regressions")]
    paths += [f"compare/{model.name}/", f"inference/onnxmodel/{model.pk}/change/"]
    paths += [f"inference/runstep/{step.pk}/change/"]
    for path in paths:
        page = admin_client.get(f"/admin/{path}").content.decode()
        assert page.count('id="page-age"') == 1, path
        assert "does not renew itself" in page
    renewed = admin_client.get(f"/admin/inference/run/{run.pk}/change/").content.decode()
    assert 'id="live-age"' in renewed and 'id="page-age"' not in renewed
