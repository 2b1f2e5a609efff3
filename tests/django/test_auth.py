"""Who may call: real rows, real sessions, a real Valkey behind the limits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, cast

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.http import HttpRequest
from django.test import Client, RequestFactory

from browsers.redis import client, place
from inference import auth
from inference.errors import Busy, InvalidRequest, Unauthorised
from inference.models import ApiKey
from inference.views import http
from tests.support.asgi import ask
from tests.support.ledger import make_run, publish
from tests.support.other_users import NOBODY

pytestmark = pytest.mark.usefixtures("clean")
AWAY: Any = {"REMOTE_ADDR": "10.1.2.3"}


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    client().flushall()
    ApiKey.objects.all().delete()
    User.objects.all().delete()
    yield
    ApiKey.objects.all().delete()
    User.objects.all().delete()


def post(**extra: Any) -> HttpRequest:
    return RequestFactory(HTTP_HOST="127.0.0.1:8000").post("/api/runs/", **extra)


def bearer(key: str, **extra: Any) -> HttpRequest:
    return post(HTTP_AUTHORIZATION=f"Bearer {key}", **AWAY, **extra)


def test_loopback_needs_nothing() -> None:
    assert auth.identify(post(), writes=True).name == "anonymous"
    assert auth.identify(post(REMOTE_ADDR="::1"), writes=True).name == "anonymous"


@pytest.mark.parametrize(
    "extra",
    [
        AWAY,
        {"REMOTE_ADDR": ""},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_VIA": "1.1 proxy"},
        {"HTTP_HOST": "webpool.example"},
        {"HTTP_HOST": "localhost.example:8000"},
    ],
)
def test_everybody_else_is_asked_for_reads_and_writes(extra: dict[str, str], settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    for writes in (True, False):
        with pytest.raises(Unauthorised, match="expected an API key"):
            auth.identify(post(**extra), writes=writes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start somebody else's process")
def test_another_user_of_the_machine_is_asked_on_loopback_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            subprocess.Popen(
                ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}; read"],
                stdin=subprocess.PIPE, user=NOBODY, group=NOBODY, extra_groups=[],
            ) as stranger,
            server.accept()[0] as accepted,
            socket.create_connection(server.getsockname()),
            server.accept()[0] as ours,
        ):  # fmt: skip
            with pytest.raises(Unauthorised):
                auth.identify(over(accepted), writes=False)
            assert auth.identify(over(ours), writes=True).name == "anonymous"
            stranger.communicate()


def over(connection: socket.socket) -> HttpRequest:
    """A request that came over it, as the web server tells."""
    request: Any = post()
    request.scope = {"client": connection.getpeername(), "server": connection.getsockname()}
    return cast("HttpRequest", request)


def test_a_server_away_from_loopback_asks_loopback_callers_too(settings: Any) -> None:
    settings.WEBPOOL_ANONYMOUS = False
    with pytest.raises(Unauthorised):
        auth.identify(post(), writes=True)


@pytest.mark.parametrize(
    "extra",
    [
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "http://127.0.0.1:9999"},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
    ],
)
def test_another_sites_page_cannot_write_through_the_operators_browser(
    extra: dict[str, str],
) -> None:
    with pytest.raises(auth.Forbidden, match="use an API key"):
        auth.identify(post(**extra), writes=True)


def test_our_own_page_can() -> None:
    own = {"HTTP_ORIGIN": "http://127.0.0.1:8000", "HTTP_SEC_FETCH_SITE": "same-origin"}
    assert auth.identify(post(**own), writes=True).name == "anonymous"


def test_a_host_that_is_not_ours() -> None:
    with pytest.raises(InvalidRequest, match="WEBPOOL_ALLOWED_HOSTS"):
        auth.identify(post(HTTP_HOST="evil.example"), writes=False)


def test_a_key_lets_in_and_is_not_stored() -> None:
    row, key = auth.create_key("ci")
    assert auth.identify(bearer(key), writes=True).name == "key ci"
    assert key not in json.dumps(list(ApiKey.objects.values()), default=str)
    assert row.prefix == key[:8]


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer", "Basic Zm9v", "Bearer \u00e4"])
def test_a_wrong_key_keeps_out_even_on_loopback(value: str) -> None:
    with pytest.raises(Unauthorised):
        auth.identify(post(HTTP_AUTHORIZATION=value), writes=False)


def test_a_key_that_was_switched_off_or_whose_user_was() -> None:
    user = User.objects.create_user("ann", is_active=False)
    _, of_ann = auth.create_key("ann's", user=user)
    row, key = auth.create_key("old")
    row.active = False
    row.save()
    for each in (key, of_ann):
        with pytest.raises(Unauthorised, match="unknown or was switched off"):
            auth.identify(bearer(each), writes=False)


def test_a_keys_limit_is_counted_by_the_minute() -> None:
    row, _ = auth.create_key("slow", requests_per_minute=2)
    auth.count_request(row.pk, 2, 600.0)
    auth.count_request(row.pk, 2, 630.0)
    with pytest.raises(Busy) as caught:
        auth.count_request(row.pk, 2, 645.0)
    assert caught.value.retry_after_s == 15
    auth.count_request(row.pk, 2, 660.0)


def test_a_limit_answers_429_with_retry_after() -> None:
    _, key = auth.create_key("one", requests_per_minute=1)
    headers = {"Authorization": f"Bearer {key}", "Host": "127.0.0.1"}
    answers = [Client(headers=headers).get("/api/models/", **AWAY) for _ in range(4)]
    refused = answers[-1]
    assert answers[0].status_code == 200
    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused.json()["category"] == "busy"


def test_a_login_reads_and_writes_with_its_csrf_token_only() -> None:
    User.objects.create_superuser("root", password="a long passphrase")
    browser = Client(enforce_csrf_checks=True, headers={"Host": "127.0.0.1"})
    assert browser.login(username="root", password="a long passphrase")
    assert browser.get("/api/models/", **AWAY).status_code == 200

    refused = browser.post("/api/runs/", {}, "application/json", **AWAY)
    assert (refused.status_code, refused.json()["category"]) == (403, "forbidden")

    token = browser.get("/admin/password_change/", **AWAY).context["csrf_token"]
    passed = browser.post(
        "/api/runs/", {}, "application/json", headers={"X-CSRFToken": str(token)}, **AWAY
    )
    assert passed.status_code == 400, "past the door: the body is what is wrong now"


def test_users_without_permissions_cancel_their_own_runs_and_manage_nothing() -> None:
    ann = User.objects.create_user("ann", password="a long passphrase")
    publish("chromium")
    own, of_others = make_run(owner="ann"), make_run(owner="anonymous")
    model = own.model
    logged_in = Client(headers={"Host": "127.0.0.1"})
    assert logged_in.login(username="ann", password="a long passphrase")
    _, key = auth.create_key("ann's", user=ann)
    by_key = Client(headers={"Host": "127.0.0.1", "Authorization": f"Bearer {key}"})
    for caller in (logged_in, by_key):
        for answer in (
            caller.delete(f"/api/models/{model.name}/", **AWAY),
            caller.post("/api/models/", {"name": "x"}, **AWAY),
            caller.post("/api/plans/", {"model": model.name}, "application/json", **AWAY),
            caller.post(f"/api/runs/{of_others.pk}/cancel/", **AWAY),
        ):
            assert (answer.status_code, answer.json()["category"]) == (403, "forbidden")
        assert caller.get("/api/models/", **AWAY).status_code == 200
        assert caller.post("/api/runs/", {}, "application/json", **AWAY).status_code == 400
    cancelled = logged_in.post(f"/api/runs/{own.pk}/cancel/", **AWAY)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")

    _, of_nobody = auth.create_key("ci")
    manager = Client(headers={"Host": "127.0.0.1", "Authorization": f"Bearer {of_nobody}"})
    assert manager.post(f"/api/runs/{of_others.pk}/cancel/", **AWAY).status_code == 200
    ann.user_permissions.add(Permission.objects.get(codename="delete_onnxmodel"))
    assert logged_in.delete(f"/api/models/{model.name}/", **AWAY).status_code == 204


def test_away_from_loopback_every_path_but_the_login_is_closed() -> None:
    paths = [
        "browsers/", "models/", "plans/", "runs/", "shards/", "schema/", "docs/", "nothing/",
    ]  # fmt: skip
    stranger = Client(headers={"Host": "127.0.0.1"})
    for path in [*(f"/api/{path}" for path in paths), "/metrics"]:
        assert stranger.get(path, **AWAY).status_code == 401, path
    assert stranger.get("/admin/", **AWAY).status_code == 302


def test_the_command_shows_a_key_once(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_api_key", "bench", "--requests-per-minute", "60", "--json")
    made = json.loads(capsys.readouterr().out)
    assert auth.identify(bearer(made["key"]), writes=True).name == "key bench"
    with pytest.raises(CommandError, match="an API key named 'bench' exists") as caught:
        call_command("create_api_key", "bench")
    assert caught.value.returncode == 2
    for arguments in (["--user", "nobody"], ["--requests-per-minute", "0"]):
        with pytest.raises(CommandError, match=r"expected|no user"):
            call_command("create_api_key", "other", *arguments)


def test_keys_with_long_names_own_what_is_theirs() -> None:
    """Two names that differ at their end only."""
    names = [f"{'x' * 63}{end}" for end in "ab"]
    callers = [auth.identify(bearer(auth.create_key(name)[1]), writes=True).name for name in names]
    assert callers == [f"key {name}" for name in names]
    assert make_run(owner=callers[0]).owner == callers[0]


def test_old_http_is_a_proxys() -> None:
    assert ask("GET", "/api/models/").status == 200
    assert ask("GET", "/api/models/", http_version="1.0").status == 401


def test_no_answer_holds_the_password_of_redis_or_a_path(settings: Any) -> None:
    """The tests' own server answers; the URL is what a refusal would repeat."""
    assert place("redis://ann:secret@redis.example:6379/0?password=other") == (
        "redis://redis.example:6379/0"
    )
    settings.WEBPOOL_HOME = "/srv/webpool/var"
    document = http.error_document(InvalidRequest("/srv/webpool/var/files/x is gone"))
    assert document["error"] == "WEBPOOL_HOME/files/x is gone"


@pytest.mark.parametrize(
    "path", ["/api/runs/", "/metrics", "/api/schema/", "/v2/models/m", "/v1/models"]
)
def test_a_host_that_is_not_ours_is_refused_in_the_words_of_programs(path: str) -> None:
    answered = ask("GET", path, headers={"Host": "elsewhere.example"})
    assert answered.status == 400
    assert "WEBPOOL_ALLOWED_HOSTS" in json.dumps(answered.json())
