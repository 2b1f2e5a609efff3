"""/v2/: the Open Inference Protocol over HTTP, as an ASGI application of its own.

It stands before Django's middlewares because it must refuse a large body before reading it, must see
a caller leave, and should cost little: a request passes one serving thread to be read and started,
waits for its answer on the event loop, and passes one more to be collected and written.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import re
from collections.abc import Callable, Mapping

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from browsers.state.live import living
from inference import auth
from inference.catalog import registry
from inference.conversion.documents import most_bytes
from inference.core.ports import read_ports
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest, UnknownModel
from inference.models import OnnxModel, Run
from inference.runs import creation, serving
from inference.runs.answers import collect, places, release
from inference.runs.metrics import batch_split
from inference.runs.options import Door, parse_options
from inference.telemetry.model_statistics import statistics
from inference.views import callers, http
from inference.views.http import Answer, ClientGone, Receive, Scope, Send
from inference.wire import room
from inference.wire.apart import desk
from inference.wire.oip import apart
from inference.wire.oip.apart import Reply
from inference.wire.oip.datatypes import HEADER_LENGTH, NAMES, type_of_parameter
from inference.wire.oip.reading import InferRequest, decode_request
from inference.wire.oip.writing import Encoded

VERSION = "1"
EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]
_PATH = re.compile(
    r"/v2(?:/?|/(?P<health>health/(?:live|ready))|/(?P<index>repository/index)|/models/(?P<all>stats)"
    r"|/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>ready|infer|config|stats))?)/?"
)


async def open_inference(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    request = ASGIRequest(dict(scope), io.BytesIO())
    try:
        with room.of_request():
            answer = await _answer(request, receive)
    except ClientGone:
        return
    except Exception as error:
        answer = http.failure(http.as_webpool_error(error))
    await http.send_answer(send, answer)


async def _answer(request: HttpRequest, receive: Receive) -> Answer:
    match = _PATH.fullmatch(request.path)
    if match is None:
        raise callers.NotFound(
            f"{request.path!r:.200} is not part of the Open Inference Protocol as served here; extensions: "
            f"{', '.join(EXTENSIONS)}"
        )
    infers, lists = match["verb"] == "infer", bool(match["index"])
    callers.check_method(request, ("POST",) if infers or lists else ("GET", "HEAD"))
    if match["health"]:
        return await _health(request, match["health"])
    caller = await callers.identify(request, writes=infers)
    if infers:
        sent = [await http.read_body(request, receive)]
        return await callers.until_gone(
            _infer(request, caller, match["model"], match["version"], sent), receive
        )
    if lists:
        body = await http.read_body(request, receive)
        wish = await http.document(caller.name, body) if body.strip() else {}
        return Answer.of_json(await serving.in_thread(_index, wish))
    if match["all"]:
        return await serving.in_thread(_statistics)
    if match["model"]:
        return await serving.in_thread(_model, match["model"], match["version"], match["verb"])
    return Answer.of_json(
        {
            "name": "webpool",
            "version": settings.SPECTACULAR_SETTINGS["VERSION"],
            "extensions": EXTENSIONS,
        }
    )


# --- infer ---------------------------------------------------------------------


async def _infer(
    request: HttpRequest, caller: auth.Caller, name: str, version: str | None, body: list[bytearray]
) -> Answer:
    """`body`: the one, which is taken out: once its run is stored, nothing of it waits for the answer."""
    header_length = request.headers.get(HEADER_LENGTH)
    encoding = request.headers.get("Content-Encoding", "")
    wanted: list[InferRequest] = []

    most = most_bytes() if header_length is None else http.limit_bytes()
    sent = [await http.inflated(body.pop(), encoding, most=most)]
    stored = room.held().ending()
    if apart.is_large(sent[0], header_length):
        wanted.append(await _decoded(caller.name, sent, header_length))

    def create() -> Run:
        model = _of_version(registry.current_model(name), version)
        decoded = wanted[0] if wanted else decode_request(sent[0], header_length)
        _check_outputs(model, decoded)
        run = creation.create_run(
            creation.RunRequest(
                model=name,
                inputs=decoded.inputs,
                owner=caller.name,
                **parse_options(decoded.parameters, Door.V2),
            ),
            taken=True,
        )
        wanted[:] = [dataclasses.replace(decoded, inputs=())]
        sent.clear()
        stored()
        return run

    accepted = request.headers.get("Accept-Encoding", "")

    def finish(run: Run) -> Answer | Reply:
        reply = _reply(run, wanted[0])
        return reply if reply.is_large else _answer_of(reply.encoded(), accepted)

    ended = await serving.run_to_end(create, finish, release)
    if isinstance(ended, Answer):
        return ended
    written = desk().submit(
        caller.name, lambda child: _answer_of(ended.encoded_by(child), accepted)
    )
    return await asyncio.wrap_future(written)


async def _decoded(
    owner: str, sent: list[bytes | bytearray], header_length: str | None
) -> InferRequest:
    """In a process of its own; no future is kept, which would hold what it told."""
    return await asyncio.wrap_future(
        desk().submit(owner, lambda child: apart.decode(child, sent[0], header_length))
    )


def _check_outputs(model: OnnxModel, request: InferRequest) -> None:
    known = [port.name for port in model.output_ports]
    for wish in request.outputs:
        if wish.name not in known:
            raise InvalidRequest(f"output {wish.name!r}: model {model.name} has {', '.join(known)}")


def _reply(run: Run, request: InferRequest) -> Reply:
    outputs = collect(run, [wish.name for wish in request.outputs])
    return Reply(
        model=run.model.name,
        version=VERSION,
        request_id=request.id,
        parameters=_facts(run),
        outputs=[(tensor, request.wants_binary(tensor.name)) for tensor in outputs],
    )


def _answer_of(encoded: Encoded, accept_encoding: str) -> Answer:
    body, headers = http.deflate(encoded.body, accept_encoding)
    if encoded.header_length is not None:
        headers[HEADER_LENGTH] = str(encoded.header_length)
    return Answer(200, body, encoded.content_type, tuple(headers.items()))


def _facts(run: Run) -> Mapping[str, type_of_parameter]:
    """Where the run really ran, one browser and backend per shard in their order; what is unproved of it."""
    ran = places(run)
    unproved = [f"shard {index}: {why}" for index, (_, _, why) in enumerate(ran) if why]
    split = batch_split(run)
    return {
        **({"unproved": "; ".join(unproved)} if unproved else {}),
        "run": str(run.pk),
        "strategy": run.plan.strategy,
        "shards": run.plan.num_shards,
        "data_parallel": run.plan.data_parallel,
        **({"batch_split": split} if split else {}),
        "browsers": ",".join(browser for browser, _, _ in ran),
        "backends": ",".join(backend for _, backend, _ in ran),
    }


# --- health and metadata ---------------------------------------------------------------------


async def _health(request: HttpRequest, what: str) -> Answer:
    auth.check_host(request)
    if what == "health/live":
        return Answer.of_json({"live": True})
    ready = await serving.in_thread(_somebody_is_ready)
    return Answer.of_json({"ready": ready}, 200 if ready else 503)


def _somebody_is_ready() -> bool:
    registry.names_any()
    return any(browser.state == "ready" for browser in living().values())


def _versioned(name: str, version: str | None) -> OnnxModel:
    return _of_version(registry.current_model(name), version)


def _of_version(model: OnnxModel, version: str | None) -> OnnxModel:
    if version not in (None, VERSION):
        raise UnknownModel(
            f"model {model.name} has version {VERSION} only, got version {version!r:.40}"
        )
    return model


def _model(name: str, version: str | None, verb: str | None) -> Answer:
    model = _versioned(name, version)
    answers: Mapping[str | None, Callable[[OnnxModel], Answer]] = {
        None: lambda model: Answer.of_json(metadata(model)),
        "ready": _model_ready,
        "config": lambda model: Answer.of_json(configuration(model)),
        "stats": lambda model: Answer.of_json(statistics([model], VERSION)),
    }
    return answers[verb](model)


def _statistics() -> Answer:
    rows = OnnxModel.objects.defer("summary").order_by("name")
    return Answer.of_json(statistics(rows, VERSION))


def _model_ready(model: OnnxModel) -> Answer:
    ready = _somebody_is_ready()
    return Answer.of_json({"name": model.name, "ready": ready}, 200 if ready else 503)


def metadata(model: OnnxModel) -> JsonObject:
    """The protocol's model metadata; a dimension of any size is -1."""
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": _platform(model),
        "inputs": [_port(port) for port in _taken(model)],
        "outputs": [_port(port) for port in model.outputs],
    }


def _taken(model: OnnxModel) -> list[JsonObject]:
    """The inputs that take a value: weights that the file lists as inputs are fixed in a browser."""
    return [port for port in model.inputs if not port.get("optional")]


def _platform(model: OnnxModel) -> str:
    return "ensemble" if model.components else "onnx_onnxv1"


def _port(port: JsonView) -> JsonObject:
    datatype = NAMES.get(port["dtype"], port["dtype"].upper())
    return {"name": port["name"], "datatype": datatype, "shape": _dims(port)}


def _dims(port: JsonView) -> list[int]:
    return [dim if isinstance(dim, int) else -1 for dim in port["shape"] or ()]


def configuration(model: OnnxModel) -> JsonObject:
    """The part of Triton's model configuration that clients read; batches are dimensions like others."""

    def ports(items: list[JsonObject]) -> list[JsonObject]:
        return [
            {"name": port["name"], "data_type": _config_type(port), "dims": _dims(port)}
            for port in items
        ]

    scheduling = {"ensemble_scheduling": {"step": _steps(model)}} if model.components else {}
    return {
        "name": model.name,
        "platform": _platform(model),
        "max_batch_size": 0,
        "input": ports(_taken(model)),
        "output": ports(model.outputs),
        **scheduling,
    }


def _steps(model: OnnxModel) -> list[JsonObject]:
    """A model's components as Triton describes an ensemble."""

    def mapped(items: list[JsonObject]) -> dict[str, str]:
        return {port.name: port.tensor for port in read_ports(items)}

    outputs = {port.tensor: port.name for port in model.output_ports}
    return [
        {
            "model_name": item["name"],
            "model_version": -1,
            "input_map": {p: outputs.get(t, t) for p, t in mapped(item["inputs"]).items()},
            "output_map": {p: outputs.get(t, t) for p, t in mapped(item["outputs"]).items()},
        }
        for item in model.components
    ]


def _config_type(port: JsonView) -> str:
    datatype = NAMES.get(port["dtype"], port["dtype"].upper())
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _index(wish: object) -> list[dict[str, str]]:
    only_ready = wish.get("ready", False) if isinstance(wish, dict) else None
    if not isinstance(only_ready, bool):
        raise InvalidRequest('expected an empty body or {"ready": true or false}')
    ready = _somebody_is_ready()
    state = {"state": "READY", "reason": ""}
    if not ready:
        state = {"state": "UNAVAILABLE", "reason": "no browser of the pool is ready"}
    names = OnnxModel.objects.values_list("name", flat=True)
    return [{"name": n, "version": VERSION, **state} for n in names if ready or not only_ready]
