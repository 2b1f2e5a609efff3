"""Every address there is, and every method of gRPC: whom it lets in. One that is judged nowhere fails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver

from inference import auth
from inference.models import AuditEntry, Comparison, OnnxModel
from inference.models.batches import BatchJob, JobState
from inference.wire.oip.described import PATHS as V2
from inference.wire.openai.described import PATHS as V1
from tests.django.test_permissions import views
from tests.support.asgi import application, ask
from tests.support.people import by_key, logged_in, staff, stranger
from tests.support.rpc import listening
from webpool_site import urls
from webpool_site.web import rpc

# What needs no login: the first page, which tells nothing of the pool, and the form to log in with.
OPEN: Final = {"", "admin/login/"}
# Pages of the admin for whoever has staff status; what their forms may do is asked as at REST.
OF_ALL_STAFF: Final = {
    "admin/", "admin/logout/", "admin/password_change/", "admin/password_change/done/", "admin/jsi18n/",
    "admin/search/", "admin/pool/", "admin/pool/rows/", "admin/pool/hour/", "admin/pictures/latency/",
    "admin/pictures/scores/", "admin/pictures/regressions/", "admin/compare/*/", "admin/try/*/",
    "admin/chat/",
}  # fmt: skip
# What is there for nobody, or only for who may look at something in particular.
OF_SOME_STAFF: Final = {
    "admin/pool/*/": 403,  # browsers.change_browser
    "admin/autocomplete/": 403, "admin/r/*/*/": 404, "admin/chat/sessions/*/": 404,
    "admin/app-list/": 404, "admin/*": 404,
}  # fmt: skip
# What may be done on the pages of a table at all, each with Django's permission of that name.
TABLES: Final = {
    "auth.group": "view add change delete",
    "auth.user": "view add change delete",
    "browsers.backendproof": "view delete",
    "browsers.browser": "view",
    "browsers.poolevent": "view",
    "django_celery_beat.intervalschedule": "view add change delete",
    "django_celery_beat.periodictask": "view add change delete",
    "history.browserrecommendation": "view",
    "history.capabilityscore": "view",
    "history.regression": "view",
    "inference.apikey": "view add change delete",
    "inference.attempt": "view",
    "inference.auditentry": "view",
    "inference.batchjob": "view add",
    "inference.comparison": "view",
    "inference.onnxmodel": "view add delete",
    "inference.plan": "view",
    "inference.run": "view",
    "inference.runstep": "view",
}
# Added by whoever is let in, as at REST.
STARTED: Final = {"inference.batchjob": auth.START_BATCH_JOB}
# Actions on chosen rows that are offered to who may only look: each asks whose the row is.
OWNERS: Final = {
    "inference.batchjob": {"cancel", "resume", "retry_failed"},
    "inference.comparison": {"cancel"},
}
PAGES: Final = {
    "": "view", "add/": "add", "*/history/": "view", "*/delete/": "delete", "*/change/": "view",
    "*/now/": "view", "*/password/": "change", "*/": "",
}  # fmt: skip
PUBLIC: Final = {"/v2/health/live", "/v2/health/ready"}
PUBLIC_CALLS: Final = {"ServerLive", "ServerReady"}


def addresses(patterns: Iterable[Any] = urls.urlpatterns, before: str = "") -> Iterator[str]:
    """Every pattern of Django's, `*` for what a caller names."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, before + str(pattern.pattern))
            continue
        assert isinstance(pattern, URLPattern)
        written = re.sub(r"\(\?P<app_label>[^)]*\)", "app-list", str(pattern.pattern))
        written = re.sub(r"<[^>]+>|\(\?P<\w+>[^)]*\)", "*", written)
        yield before + re.sub(r"[\^$]", "", re.sub(r"\(\?P\*\.\*\)", "*", written))


def of_table(path: str) -> tuple[str, str] | None:
    """A table and which of its pages; None: it is no table's."""
    found = re.fullmatch(r"admin/(\w+)/(\w+)/(.*)", path)
    name = f"{found[1]}.{found[2]}" if found else ""
    return (name, found[3]) if found and name in TABLES else None


def of_admin() -> list[str]:
    return [path for path in addresses() if not path.startswith(("api/", "metrics"))]


def test_every_address_is_judged() -> None:
    pages = OPEN | OF_ALL_STAFF | OF_SOME_STAFF.keys()
    at_rest = {path for path, view in views().items() if view is not None} | {"api/*"}
    left = set(addresses()) - at_rest
    assert {path for path in left if of_table(path) is None} == pages, "whom does it let in?"
    assert {one[1] for path in left if (one := of_table(path))} == PAGES.keys()
    assert {model._meta.label_lower for model in admin.site._registry} == TABLES.keys()


def test_a_stranger_gets_to_the_login_alone(world: dict[str, str]) -> None:
    caller = stranger()
    for path in of_admin():
        answer = caller.get("/" + path.replace("*", "1"))
        if path in OPEN:
            assert answer.status_code == 200, path
        else:
            leads = "/admin/" if path == "admin/logout/" else "/admin/login/"
            assert (answer.status_code, answer["location"].split("?")[0]) == (302, leads), path
    for path in ("api/nosuch/", "metrics", "api/schema/", "api/docs/"):
        assert caller.get("/" + path).status_code == 401, path


def named(path: str, world: dict[str, str]) -> str:
    """The address of something that is there, where the world has one of its kind."""
    table = (of_table(path) or ("", ""))[0]
    model = str(OnnxModel.objects.get(name=world["models"]).pk)
    known = {
        "inference.run": world["runs"], "inference.batchjob": world["batches"],
        "inference.comparison": world["comparisons"], "inference.onnxmodel": model,
        "inference.plan": world["plans"], "inference.runstep": world["shards"], "browsers.browser": "a",
    }  # fmt: skip
    if path.startswith(("admin/try", "admin/compare")):
        known[""] = world["models"]
    return "/" + path.replace("*", known.get(table, "1"))


@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_without_permissions_see_and_change_no_table(
    world: dict[str, str], method: str
) -> None:
    caller = logged_in(staff("ann"))
    for path in of_admin():
        status = getattr(caller, method)(named(path, world)).status_code
        if path in OPEN | OF_ALL_STAFF:
            assert status in (200, 302, 405), (path, status)
        elif path in OF_SOME_STAFF:
            assert status in (OF_SOME_STAFF[path], 405), (path, status)
        else:
            table, page = of_table(path) or ("", "")
            if page == "add/" and STARTED.get(table) == auth.ANYBODY:
                assert status == 200
            elif page == "*/":
                assert status == 302, "it leads to the row's page"
            else:  # 302 and 404: nothing is there, which is told to all
                assert status in (403, 302, 404), (path, status)
                assert status == 403 or page in ("*/history/", "*/now/"), (path, status)
        if path == "admin/logout/":
            caller.force_login(User.objects.get(username="ann"))


def test_what_a_table_s_pages_do_for_nobody_they_do_not_for_a_superuser(
    world: dict[str, str],
) -> None:
    request = RequestFactory().get("/")
    request.user = staff("root", is_superuser=True)
    looks = RequestFactory().get("/")
    looks.user = staff("eve", *(f"{name.replace('.', '.view_')}" for name in TABLES))
    for model, page in admin.site._registry.items():
        name = model._meta.label_lower
        may = {
            one
            for one in ("view", "add", "change", "delete")
            if getattr(page, f"has_{one}_permission")(request)
        }
        assert may == set(TABLES[name].split()), name
        offered = {action for action in page.get_actions(looks) if action != "delete_selected"}
        assert offered == OWNERS.get(name, set()), f"{name}: what only looks may do"


def test_staff_steer_their_own_in_the_admin_and_nobody_else_s(world: dict[str, str]) -> None:
    AuditEntry.objects.all().delete()
    caller = logged_in(staff("ann", "inference.view_batchjob", "inference.view_comparison"))
    pages = {"batchjob": world["batches"], "comparison": world["comparisons"]}

    def cancel() -> str:
        said = [
            caller.post(
                f"/admin/inference/{page}/",
                {"action": "cancel", "_selected_action": row},
                follow=True,
            )
            for page, row in pages.items()
        ]
        return "".join(one.content.decode() for one in said)

    for permission in ("inference.change_batchjob", "inference.change_comparison"):
        assert f"expected the permission {permission}" in cancel()
    assert BatchJob.objects.get().state == JobState.RUNNING
    BatchJob.objects.update(owner="ann")
    Comparison.objects.update(owner="ann")
    cancel()
    assert BatchJob.objects.get().state == JobState.CANCELLED
    assert Comparison.objects.get().state == "cancelled"
    told = AuditEntry.objects.order_by("pk").values_list("action", "done")
    assert list(told) == [("cancel", False)] * 4 + [("cancel", True)] * 2
    AuditEntry.objects.all().delete()


def test_a_comparison_is_started_by_whoever_is_let_in_at_both_doors(world: dict[str, str]) -> None:
    person = staff("ann")
    asked = {"model": world["models"], "browsers": ["a"], "backends": ["wasm"], "runs": 1}
    at_rest = by_key("ann's", person).post("/api/comparisons/", asked, "application/json")
    form = {"runs": "1", "browsers": "a", "backends": "wasm"}
    on_the_page = logged_in(person).post(f"/admin/compare/{world['models']}/", form)
    assert (at_rest.status_code, on_the_page.status_code) == (202, 302), at_rest.content
    assert Comparison.objects.exclude(owner="somebody").count() == 2


@pytest.mark.parametrize("protocol", [V1, V2], ids=["v1", "v2"])
def test_programs_need_a_key_and_no_permission(
    world: dict[str, str], protocol: dict[str, Any]
) -> None:
    _, key = auth.create_key("ann's", user=staff("ann"))
    for path, methods in protocol.items():
        address = re.sub(r"\{[^}]+\}", world["models"], path)
        for method in methods:
            asked = method.upper(), address, b"{}", {"Content-Type": "application/json"}
            status = ask(*asked, client="10.1.2.3").status
            assert (status != 401) == (path in PUBLIC), path
            with_key = {**asked[3], "Authorization": f"Bearer {key}"}
            assert ask(*asked[:3], with_key, client="10.1.2.3").status not in (401, 403), path


def test_grpc_needs_a_key_whatever_is_called(world: dict[str, str]) -> None:
    methods = rpc._Service(application, ("127.0.0.1", 1)).handlers()
    with listening() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for name in methods:
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
            try:
                call(b"", timeout=60)
                code = grpc.StatusCode.OK
            except grpc.RpcError as refused:
                code = refused.code()
            assert (code != grpc.StatusCode.UNAUTHENTICATED) == (name in PUBLIC_CALLS), name
