"""/api/: the pool as resources. Each view parses, calls one service and shows rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

import redis.exceptions
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponsePermanentRedirect, QueryDict
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework import generics, status
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from browsers import breakers
from browsers.glance import breakers_or_unknown, living_or_unknown
from browsers.models import Browser
from inference import auth, endings, oip, plans, registry, runs, uploads
from inference.errors import InvalidRequest, Unavailable, UnknownBrowser
from inference.inputs import from_python
from inference.models import OnnxModel, Plan, Run, RunShard, RunState, ShardState, StepKind
from inference.options import parse_options
from inference.serializers import (
    BreakersSerializer,
    BrowserDetailSerializer,
    BrowserSerializer,
    ErrorSerializer,
    ManifestRequestSerializer,
    ModelDetailSerializer,
    ModelSerializer,
    ModelUploadSerializer,
    OutputsSerializer,
    PlanRequestSerializer,
    PlanSerializer,
    RunDetailSerializer,
    RunRequestSerializer,
    RunSerializer,
    RunShardSerializer,
    file_names,
)
from inference.tensors import WireTensor
from inference.views.door import Door, caller_of, manager_of
from inference.views.open_inference import VERSION

ERRORS = dict.fromkeys((400, 401, 403, 404, 429, 503), ErrorSerializer)


# --- browsers ---------------------------------------------------------------------


class _Browsers(Door, generics.GenericAPIView[Browser]):
    queryset = Browser.objects.all()

    def get_serializer_context(self) -> dict[str, Any]:
        alive = living_or_unknown()
        files = {sha256 for live in (alive or {}).values() for sha256 in live.loaded}
        known = breakers_or_unknown(Browser.objects.values_list("pk", flat=True))
        facts = {"living": alive, "breakers": known, "names": file_names(files)}
        return {**super().get_serializer_context(), **facts}


class BrowserList(_Browsers, generics.ListAPIView[Browser]):
    """Every browser of the pool: its row, and what its worker says now."""

    serializer_class = BrowserSerializer


class BrowserDetail(_Browsers, generics.RetrieveAPIView[Browser]):
    """One browser, with its latest incidents."""

    serializer_class = BrowserDetailSerializer

    def get_object(self) -> Browser:
        return _known_browser(self.kwargs["pk"])


def _known_browser(wanted: str) -> Browser:
    row = Browser.objects.filter(pk=wanted).first()
    if row is None:
        known = ", ".join(Browser.objects.values_list("pk", flat=True)) or "none"
        raise UnknownBrowser(f"no browser has the id {wanted!r}; known: {known}")
    return row


class BreakerReset(Door, APIView):
    @extend_schema(request=None, responses={200: BreakersSerializer, **ERRORS})
    def post(self, request: Request, pk: str) -> Response:
        """Close the circuit breakers of a browser, its own and those of models in it."""
        manager_of(request)
        browser = _known_browser(pk)
        try:
            breakers.reset(browser.pk)
        except redis.exceptions.RedisError as error:
            raise Unavailable(
                f"Redis does not answer ({error}); the breakers are as before"
            ) from error
        return Response(breakers.describe(breakers.CLOSED, time.time()))


# --- models ---------------------------------------------------------------------


class ModelList(Door, generics.ListAPIView[OnnxModel]):
    """Registered models."""

    queryset = OnnxModel.objects.all()
    serializer_class = ModelSerializer
    parser_classes = [MultiPartParser, FormParser, JSONParser]

    @extend_schema(
        request={
            "multipart/form-data": ModelUploadSerializer,
            "application/json": ManifestRequestSerializer,
        },
        responses={201: ModelDetailSerializer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Register an ONNX file, or a model of several files by a manifest.

        The same content under the same name again: the existing model.
        """
        manager_of(request)
        model = _uploaded(request) if request.FILES else _described(request)
        return Response(ModelDetailSerializer(model).data, status=status.HTTP_201_CREATED)


def _uploaded(request: Request) -> OnnxModel:
    lists = {key: request.FILES.getlist(key) for key in ("components", "external_data")}
    form = ModelUploadSerializer(data={**cast("QueryDict", request.data).dict(), **lists})
    form.is_valid(raise_exception=True)
    given = form.validated_data
    words = {
        "name": given["name"],
        "model_type": given["model_type"],
        "tokenizer": given.get("tokenizer"),
    }
    if "file" in given:
        return uploads.register_upload(given["file"], external_data=given["external_data"], **words)
    files = [*given["components"], *given["external_data"]]
    return uploads.register_manifest(given["manifest"], files=files, **words)


def _described(request: Request) -> OnnxModel:
    if isinstance(request.data, QueryDict):
        raise InvalidRequest(
            "expected an ONNX 'file' or a 'manifest' with its 'components' as files"
        )
    form = ManifestRequestSerializer(data=request.data)
    form.is_valid(raise_exception=True)
    return uploads.register_document(
        form.validated_data["manifest"],
        name=form.validated_data["name"],
        model_type=form.validated_data["model_type"],
    )


class ModelDetail(Door, APIView):
    """One model with what was read from its graph, legal cuts included."""

    @extend_schema(responses={200: ModelDetailSerializer, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        return Response(ModelDetailSerializer(registry.get_model(name)).data)

    @extend_schema(responses={204: None, 409: ErrorSerializer, **ERRORS})
    def delete(self, request: Request, name: str) -> Response:
        """Remove a model with its plans, runs and files; refused while runs of it are active."""
        manager_of(request)
        uploads.remove_model(registry.get_model(name))
        return Response(status=status.HTTP_204_NO_CONTENT)


# --- plans ---------------------------------------------------------------------


class PlanList(Door, generics.ListAPIView[Plan]):
    """Plans that were cut so far: bytes, cost and crossing tensors of each shard."""

    queryset = Plan.objects.select_related("model").prefetch_related("shards")
    serializer_class = PlanSerializer

    @extend_schema(request=PlanRequestSerializer, responses={200: PlanSerializer, **ERRORS})
    def post(self, request: Request) -> Response:
        """Cut a model, or show how it was cut before: same request, same plan."""
        manager_of(request)
        form = PlanRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wanted = form.validated_data
        model = registry.get_model(wanted["model"])
        strategy = wanted.get("strategy") or plans.usual_strategy(model)
        shards = plans.usual_shards(strategy, wanted.get("shards"))
        plan = plans.ensure_plan(
            model,
            strategy,
            shards,
            wanted["data_parallel"],
            allow_unproved_split=wanted["allow_unproved_split"],
        )
        return Response(PlanSerializer(plan).data)


class PlanDetail(Door, generics.RetrieveAPIView[Plan]):
    """One plan."""

    queryset = Plan.objects.select_related("model").prefetch_related("shards")
    serializer_class = PlanSerializer


# --- runs ---------------------------------------------------------------------


def _query(name: str, about: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, description=about)


class RunList(Door, generics.ListAPIView[Run]):
    """Runs, the latest first."""

    serializer_class = RunSerializer

    def get_queryset(self) -> QuerySet[Run]:
        rows = Run.objects.select_related("model", "plan")
        asked = self.request.query_params
        if model := asked.get("model"):
            rows = rows.filter(model=registry.get_model(model))
        if state := asked.get("state"):
            rows = rows.filter(state=_one_of("state", state, RunState.values))
        return rows

    @extend_schema(
        parameters=[_query("model", "name"), _query("state", ", ".join(RunState.values))]
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(request=RunRequestSerializer, responses={202: RunDetailSerializer, **ERRORS})
    def post(self, request: Request) -> Response:
        """Start a run and return at once; ask for it at its `Location`."""
        given = request.data
        if not isinstance(given, dict):
            raise InvalidRequest("expected a JSON object; see /api/docs/")
        own = ("model", "inputs", "texts")
        if not isinstance(name := given.get("model"), str):
            raise InvalidRequest(f"'model': expected the name of a model, got {name!r:.100}")
        model = registry.get_model(name)
        options = {key: value for key, value in given.items() if key not in own}
        inputs, filled_in = _inputs(model, given)
        run = runs.create_run(
            runs.RunRequest(
                model=model.name,
                inputs=inputs,
                filled_in=filled_in,
                owner=caller_of(request).name,
                **parse_options(options),
            )
        )
        body = RunDetailSerializer(runs.get_run(run.pk)).data
        headers = {"Location": f"/api/runs/{run.pk}/"}
        return Response(body, status=status.HTTP_202_ACCEPTED, headers=headers)


def _inputs(
    model: OnnxModel, given: dict[str, Any]
) -> tuple[Sequence[WireTensor], tuple[str, ...]]:
    """The tensors that were sent, and what was added to them, one sentence each."""
    if ("inputs" in given) == ("texts" in given):
        raise InvalidRequest("expected either 'inputs' or 'texts'")
    if "texts" in given:
        texts = given["texts"]
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise InvalidRequest(f"'texts': expected a list of strings, got {texts!r:.100}")
        return _prepared(model, registry.tokenizer_of(model).encode(texts))
    inputs = given["inputs"]
    if isinstance(inputs, list):
        return [oip.decode_json_tensor(entry) for entry in inputs], ()
    if isinstance(inputs, dict):
        return _prepared(model, inputs)
    raise InvalidRequest("'inputs': expected an object of name → nested list, or a list of tensors")


def _prepared(
    model: OnnxModel, inputs: Mapping[str, Any]
) -> tuple[Sequence[WireTensor], tuple[str, ...]]:
    prepared = from_python(model, inputs)
    return prepared.tensors, tuple(prepared.filled_in)


def _one_of(name: str, value: str, allowed: list[str]) -> str:
    if value not in allowed:
        raise InvalidRequest(f"{name}: expected one of {', '.join(allowed)}, got {value!r:.100}")
    return value


class RunDetail(Door, APIView):
    """One run with its shards, their attempts, and the execution metrics."""

    @extend_schema(responses={200: RunDetailSerializer, **ERRORS})
    def get(self, request: Request, run_id: str) -> Response:
        return Response(RunDetailSerializer(runs.get_run(run_id)).data)


class RunOutputs(Door, APIView):
    @extend_schema(
        parameters=[_query("names", "output names, by comma; all when left out")],
        responses={200: OutputsSerializer, 409: ErrorSerializer, **ERRORS},
    )
    def get(self, request: Request, run_id: str) -> HttpResponse:
        """The answer, in the form of /v2/; binary with `Accept: application/octet-stream`."""
        run = runs.get_run(run_id)
        if run.state == RunState.RUNNING:
            raise uploads.Conflict(f"run {run.pk} is still running; ask again")
        names = [name for name in request.query_params.get("names", "").split(",") if name]
        binary = request.headers.get("Accept", "") == "application/octet-stream"
        encoded = oip.encode_response(
            model=run.model.name,
            version=VERSION,
            request_id=None,
            parameters={"run": str(run.pk)},
            outputs=[(tensor, binary) for tensor in runs.collect(run, names)],
        )
        response = HttpResponse(encoded.body, content_type=encoded.content_type)
        if encoded.header_length is not None:
            response[oip.HEADER_LENGTH] = str(encoded.header_length)
        return response


class RunCancel(Door, APIView):
    @extend_schema(
        request=None, responses={200: RunDetailSerializer, 409: ErrorSerializer, **ERRORS}
    )
    def post(self, request: Request, run_id: str) -> Response:
        """End a run that nobody wants any more."""
        run = runs.get_run(run_id)
        caller = caller_of(request)
        if run.owner != caller.name:
            auth.check_manager(caller)
        endings.cancel(run.pk, f"cancelled by {caller.name}")
        run = runs.get_run(run.pk)
        if run.state != RunState.CANCELLED:
            raise uploads.Conflict(f"run {run.pk} has {run.state} already")
        return Response(RunDetailSerializer(run).data)


class ShardList(Door, generics.ListAPIView[RunShard]):
    """Shards of runs: where each stands, and every attempt."""

    serializer_class = RunShardSerializer

    def get_queryset(self) -> QuerySet[RunShard]:
        rows = RunShard.objects.filter(kind=StepKind.COMPUTE)
        rows = rows.select_related("plan_shard").prefetch_related("attempt_rows")
        asked = self.request.query_params
        if run := asked.get("run"):
            rows = rows.filter(run=runs.get_run(run))
        if browser := asked.get("browser"):
            rows = rows.filter(browser=browser)
        if state := asked.get("state"):
            rows = rows.filter(state=_one_of("state", state, ShardState.values))
        return rows.order_by("-id")

    @extend_schema(
        parameters=[
            _query("run", "id"),
            _query("browser", "id"),
            _query("state", "such as running"),
        ]
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class ShardDetail(Door, generics.RetrieveAPIView[RunShard]):
    """One shard of a run."""

    queryset = RunShard.objects.select_related("plan_shard").prefetch_related("attempt_rows")
    serializer_class = RunShardSerializer


# --- about the API ---------------------------------------------------------------------


class Schema(Door, SpectacularAPIView):
    renderer_classes = SpectacularAPIView.renderer_classes
    content_negotiation_class = SpectacularAPIView.content_negotiation_class


class Docs(Door, SpectacularSwaggerView):
    renderer_classes = SpectacularSwaggerView.renderer_classes
    content_negotiation_class = SpectacularSwaggerView.content_negotiation_class
    url_name = "schema"


class UnknownPath(InvalidRequest):
    status = 404


class NoSuchPath(Door, APIView):
    @extend_schema(exclude=True)
    def get(self, request: Request, path: str) -> HttpResponse:
        if not path.endswith("/") and request.method == "GET":
            return HttpResponsePermanentRedirect(f"/api/{quote(path)}/")
        hint = "" if path.endswith("/") else " (paths end with a slash)"
        raise UnknownPath(f"/api/{path} does not exist{hint}; /api/docs/ lists what does")

    post = put = patch = delete = get
