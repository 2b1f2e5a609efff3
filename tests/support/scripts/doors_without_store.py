"""Ask at every door while the store or the database is away; prints what each answered, as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import django

django.setup()

import grpc  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402
from tritonclient.grpc import service_pb2 as pb  # noqa: E402

from browsers.models import Browser  # noqa: E402
from inference import auth  # noqa: E402
from inference.models import OnnxModel  # noqa: E402
from tests.support.asgi import ask  # noqa: E402
from tests.support.rpc import listening  # noqa: E402

Said = tuple[int, str]
RUN = {"model": "known", "inputs": {"x": [[0.0]]}}
INFER = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.0]}]}
CHAT = {"model": "known", "messages": [{"role": "user", "content": "x"}]}
PORT = {"name": "x", "dtype": "float32", "shape": ["n", 1]}


def known() -> tuple[str, str, Any]:
    """A browser, a model, a key that is counted and one that is not, a person; the database is there."""
    Browser.objects.create(id="a", kind="chromium", family="chromium")
    OnnxModel.objects.create(
        name="known", sha256="0" * 64, file_bytes=1, weight_bytes=1, node_count=1, max_shards=1,
        batch_axis={}, inputs=[PORT], outputs=[PORT], summary={},
    )  # fmt: skip
    counted, plain = (
        auth.create_key(name, requests_per_minute=limit)[1]
        for name, limit in (("counted", 1000), ("plain", None))
    )
    return counted, plain, User.objects.create_superuser("operator")


def http(method: str, path: str, key: str, document: object = None) -> Callable[[], Said]:
    def asked() -> Said:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        body = b"" if document is None else json.dumps(document).encode()
        answered = ask(method, path, body, headers)
        return answered.status, f"{answered.headers} {answered.body.decode()}"

    return asked


def rpc(method: str, key: str) -> Callable[[], Said]:
    message = pb.ModelReadyRequest(name="known").SerializeToString()

    def asked() -> Said:
        with listening() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            try:
                call(message, metadata=(("authorization", f"Bearer {key}"),), timeout=60)
            except grpc.RpcError as error:
                return error.code().value[0], f"{error.details()} {error.trailing_metadata()}"
        return 0, ""

    return asked


def page(method: str, path: str, person: Any, **form: str) -> Callable[[], Said]:
    def asked() -> Said:
        visitor = Client(raise_request_exception=False, headers={"Host": "127.0.0.1"})
        if person is None:
            visitor.cookies["sessionid"] = "of nobody"
        else:
            visitor.force_login(person)
        answered = getattr(visitor, method)(path, form, follow=True)
        return answered.status_code, answered.content.decode()

    return asked


def doors() -> dict[str, Callable[[], Said]]:
    counted, plain, person = known() if sys.argv[1] == "store" else ("a", "b", None)
    said: dict[str, Callable[[], Said]] = {}
    for name, key in (("a counted key", counted), ("a key", plain)):
        said |= {
            f"REST, {name}": http("POST", "/api/runs/", key, RUN),
            f"/v2, {name}": http("POST", "/v2/models/known/infer", key, INFER),
            f"gRPC, {name}": rpc("ModelReady", key),
        }
    return said | {
        "/v1": http("POST", "/v1/chat/completions", counted, CHAT),
        "REST, drain": http("POST", "/api/browsers/a/drain/", plain, {}),
        "REST, telemetry": http("GET", "/api/telemetry/", plain),
        "metrics": http("GET", "/metrics", plain),
        "the live page": page("get", "/admin/pool/", person),
        "a page's button": page("post", "/admin/pool/a/", person, action="drain"),
        "a page to try": page("post", "/admin/try/known/", person, tensors='{"x": [[0.0]]}'),
        "a page of rows": page("get", "/admin/browsers/browser/", person),
    }


if __name__ == "__main__":
    print(json.dumps({name: asked() for name, asked in doors().items()}), flush=True)
    os._exit(0)  # serving threads may still wait for what is away
