"""/api/runs/ and /api/shards/: started, looked at, collected, cancelled."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import auth
from inference.catalog import registry, uploads
from inference.errors import InvalidRequest
from inference.ledger import endings
from inference.models import Entrance, Run, RunState, RunStep, StepKind, StepState
from inference.runs import creation, options
from inference.runs.answers import collect, get_run, wait_at_most
from inference.store import audit
from inference.views.door import Door, caller_of
from inference.views.open_inference import VERSION
from inference.views.run_inputs import inputs_of
from inference.wire.apart import desk
from inference.wire.bodies import RunJSON
from inference.wire.oip.apart import Reply
from inference.wire.oip.datatypes import HEADER_LENGTH
from inference.wire.queries import text
from inference.wire.serializers.errors import ERRORS, ErrorSerializer
from inference.wire.serializers.runs import (
    OutputsSerializer,
    RunDetailSerializer,
    RunRequestSerializer,
    RunSerializer,
    RunStepSerializer,
)

MOST_WAIT_S = 60.0
_WAIT = OpenApiParameter(
    "wait",
    OpenApiTypes.FLOAT,
    description=f"answer when the run has ended, after so many seconds at most (up to {MOST_WAIT_S:g})",
)
_STATES, _SHARD_STATES = list(RunState), list(StepState)


def _wait_s(request: Request) -> float:
    """Raises InvalidRequest: no number of seconds, or too many."""
    text = request.query_params.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_WAIT_S:
        raise InvalidRequest(
            f"wait: expected a number of seconds from 0 to {MOST_WAIT_S:g}, got {text!r:.100}"
        )
    return seconds


class RunList(Door, generics.ListAPIView[Run]):
    """Runs, the latest first."""

    rules = {"POST": auth.START_RUN}
    queries = {"GET": [text("model", "name"), text("state", "", enum=_STATES)], "POST": [_WAIT]}
    parser_classes = [RunJSON]
    serializer_class = RunSerializer

    def get_queryset(self) -> QuerySet[Run]:
        rows = Run.objects.select_related("model", "plan")
        asked = self.request.query_params
        if (model := asked.get("model")) is not None:
            rows = rows.filter(model=registry.get_model(model))
        if (state := asked.get("state")) is not None:
            rows = rows.filter(state=_one_of("state", state, _STATES))
        return rows

    @extend_schema(
        request=RunRequestSerializer,
        responses={202: RunDetailSerializer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Start a run and return at once, or after `wait`; ask for it at its `Location`."""
        given, wait_s = request.data, _wait_s(request)
        if not isinstance(given, dict):
            raise InvalidRequest("expected a JSON object; see /api/docs/")
        own = ("model", "inputs", "texts")
        if not isinstance(name := given.get("model"), str):
            raise InvalidRequest(f"'model': expected the name of a model, got {name!r:.100}")
        model = registry.get_model(name)
        wishes = {key: value for key, value in given.items() if key not in own}
        inputs, filled_in = inputs_of(model, given)
        run = creation.create_run(
            creation.RunRequest(
                model=model.name,
                inputs=inputs,
                filled_in=filled_in,
                owner=caller_of(request).name,
                **options.parse_options(wishes, options.Door.RUNS),
            )
        )
        if wait_s:
            wait_at_most(run, wait_s)
        body = RunDetailSerializer(get_run(run.pk)).data
        headers = {"Location": f"/api/runs/{run.pk}/"}
        return Response(body, status=status.HTTP_202_ACCEPTED, headers=headers)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise InvalidRequest(f"{name}: expected one of {', '.join(allowed)}, got {value!r:.100}")
    return value


class RunDetail(Door, APIView):
    """One run with its shards, their attempts, and the execution metrics."""

    queries = {"GET": [_WAIT]}

    @extend_schema(responses={200: RunDetailSerializer, **ERRORS})
    def get(self, request: Request, run_id: str) -> Response:
        run = get_run(run_id)
        if wait_s := _wait_s(request):
            wait_at_most(run, wait_s)
            run = get_run(run_id)
        return Response(RunDetailSerializer(run).data)


class RunOutputs(Door, APIView):
    queries = {"GET": [text("names", "output names, by comma; all when left out")]}

    @extend_schema(
        responses={
            (200, "application/json"): OutputsSerializer,
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            409: ErrorSerializer,
            **ERRORS,
        },
    )
    def get(self, request: Request, run_id: str) -> HttpResponse:
        """The answer, in the form of /v2/; binary with `Accept: application/octet-stream`."""
        run = get_run(run_id)
        if run.state == RunState.RUNNING:
            raise uploads.Conflict(f"run {run.pk} is still running; ask again")
        names = [name for name in request.query_params.get("names", "").split(",") if name]
        binary = request.headers.get("Accept", "") == "application/octet-stream"
        told = Reply(
            model=run.model.name,
            version=VERSION,
            request_id=None,
            parameters={"run": str(run.pk)},
            outputs=[(tensor, binary) for tensor in collect(run, names)],
        )
        owner = caller_of(request).name
        encoded = (
            desk().submit(owner, told.encoded_by).result() if told.is_large else told.encoded()
        )
        response = HttpResponse(encoded.body, content_type=encoded.content_type)
        if encoded.header_length is not None:
            response[HEADER_LENGTH] = str(encoded.header_length)
        return response


class RunCancel(Door, APIView):
    rules = {"POST": auth.OWNER}

    @extend_schema(
        request=None, responses={200: RunDetailSerializer, 409: ErrorSerializer, **ERRORS}
    )
    def post(self, request: Request, run_id: str) -> Response:
        """End a run that nobody wants any more."""
        run = get_run(run_id)
        caller = caller_of(request)
        auth.check_owner(caller, run.owner, auth.CHANGE_RUN)
        with audit.acting(Entrance.REST, caller.name, "cancel", f"run {run.pk}"):
            endings.cancel(run.pk, f"cancelled by {caller.name}")
            run = get_run(run.pk)
            if run.state != RunState.CANCELLED:
                raise uploads.Conflict(f"run {run.pk} has {run.state} already")
        return Response(RunDetailSerializer(run).data)


class ShardList(Door, generics.ListAPIView[RunStep]):
    """Shards of runs: where each stands, and every attempt."""

    queries = {
        "GET": [text("run", "id"), text("browser", "id"), text("state", "", enum=_SHARD_STATES)]
    }
    serializer_class = RunStepSerializer

    def get_queryset(self) -> QuerySet[RunStep]:
        rows = RunStep.objects.filter(kind=StepKind.COMPUTE)
        rows = rows.select_related("plan_step").prefetch_related("attempt_rows")
        asked = self.request.query_params
        if (run := asked.get("run")) is not None:
            rows = rows.filter(run=get_run(run))
        if (browser := asked.get("browser")) is not None:
            rows = rows.filter(browser=browser)
        if (state := asked.get("state")) is not None:
            rows = rows.filter(state=_one_of("state", state, _SHARD_STATES))
        return rows.order_by("-id")


class ShardDetail(Door, generics.RetrieveAPIView[RunStep]):
    """One shard of a run."""

    queryset = RunStep.objects.select_related("plan_step").prefetch_related("attempt_rows")
    serializer_class = RunStepSerializer
