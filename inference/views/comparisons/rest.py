"""/api/comparisons/: a model over browsers and backends."""

from __future__ import annotations

from typing import Final

from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import auth
from inference.catalog import registry
from inference.catalog.uploads import Conflict
from inference.comparisons import asking, junit, page, report
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.models import Comparison, ComparisonState, Entrance
from inference.store import audit
from inference.views.door import Door, asked, caller_of
from inference.views.run_inputs import inputs_of
from inference.wire.queries import text
from inference.wire.serializers.errors import ERRORS, ErrorSerializer

_FORMATS: Final = {"json": "application/json", "html": "text/html", "junit": "application/xml"}


class ComparisonSerializer(serializers.ModelSerializer[Comparison]):
    """One comparison in a list; `/api/comparisons/<id>/` tells what it found."""

    model = serializers.CharField(source="model.name")
    state = serializers.ChoiceField(choices=ComparisonState.values)

    class Meta:
        model = Comparison
        fields = [
            "id", "model", "state", "source", "runs", "seed", "owner", "scheduled", "note", "created_at",
            "ended_at",
        ]  # fmt: skip


class ComparisonRequestSerializer(serializers.Serializer[object]):
    """A comparison to start. Inputs are random unless `inputs` or `known_answer` is given."""

    model = serializers.CharField()
    browsers = serializers.ListField(
        child=serializers.CharField(),
        default=list,
        max_length=100,
        help_text="ids, kinds or families; left out: one of each kind and version",
    )
    backends = serializers.ListField(
        child=serializers.ChoiceField(choices=asking.BACKENDS), default=list, max_length=10
    )
    strategies = serializers.ListField(
        child=serializers.CharField(),
        default=list,
        max_length=10,
        help_text="such as none, layer:2: one browser computes all shards; left out: the model as it is",
    )
    rows = serializers.IntegerField(
        default=None, min_value=1, max_value=65_536, allow_null=True, help_text="of random inputs"
    )
    runs = serializers.IntegerField(
        default=asking.USUAL_RUNS,
        min_value=1,
        max_value=asking.MOST_RUNS,
        help_text="measured runs of each cell",
    )
    seed = serializers.IntegerField(default=None, min_value=0, max_value=2**31 - 1, allow_null=True)
    inputs = serializers.JSONField(
        required=False,
        help_text="name → nested list, or a list of {name, datatype, shape, data} as in /v2/",
    )
    known_answer = serializers.BooleanField(default=False)
    strict = serializers.BooleanField(default=False)


class ComparisonList(Door, generics.ListAPIView[Comparison]):
    """Comparisons, the latest first."""

    rules = {"POST": auth.START_COMPARISON}
    queries = {"GET": [text("model", "name")]}
    serializer_class = ComparisonSerializer

    def get_queryset(self) -> QuerySet[Comparison]:
        rows = Comparison.objects.select_related("model").defer("model__summary")
        if (model := self.request.query_params.get("model")) is not None:
            rows = rows.filter(model=registry.get_model(model))
        return rows

    @extend_schema(
        request=ComparisonRequestSerializer, responses={202: OpenApiTypes.OBJECT, **ERRORS}
    )
    def post(self, request: Request) -> Response:
        """Start a comparison and return at once; ask for it at its `Location`."""
        given = asked(ComparisonRequestSerializer, request.data)
        tensors = given.pop("inputs", None)
        words: JsonObject = {}
        if tensors is not None:
            model = registry.get_model(given["model"])
            inputs, filled_in = inputs_of(model, {"inputs": tensors})
            words = {"inputs": inputs, "filled_in": filled_in, "source": "given"}
        comparison = asking.create(asking.Asked(**given, **words, owner=caller_of(request).name))
        return Response(
            report.document(comparison),
            status=status.HTTP_202_ACCEPTED,
            headers={"Location": f"/api/comparisons/{comparison.pk}/"},
        )


class ComparisonDetail(Door, APIView):
    """One comparison: each cell, what differs, and that in words."""

    rules = {"DELETE": auth.OWNER}
    queries = {"GET": [text("format", "left out: json", enum=list(_FORMATS))]}

    @extend_schema(
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/html"): OpenApiTypes.STR,
            (200, "application/xml"): OpenApiTypes.STR,
            **ERRORS,
        },
    )
    def get(self, request: Request, comparison_id: str) -> HttpResponseBase:
        kind = request.query_params.get("format", "json")
        if kind not in _FORMATS:
            raise InvalidRequest(
                f"format: expected one of {', '.join(_FORMATS)}, got {kind!r:.100}"
            )
        document = report.document(asking.get(comparison_id))
        if kind == "html":
            return HttpResponse(page.standalone(document), content_type="text/html; charset=utf-8")
        if kind == "junit":
            return HttpResponse(junit.render(document), content_type=_FORMATS[kind])
        return Response(document)

    @extend_schema(responses={204: None, 409: ErrorSerializer, **ERRORS})
    def delete(self, request: Request, comparison_id: str) -> Response:
        """Forget what was compared; one that still runs is refused: cancel it first."""
        comparison, caller = asking.get(comparison_id), caller_of(request)
        auth.check_owner(caller, comparison.owner, auth.DELETE_COMPARISON)
        with audit.acting(Entrance.REST, caller.name, "delete", f"comparison {comparison.pk}"):
            asking.remove(comparison)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ComparisonCancel(Door, APIView):
    rules = {"POST": auth.OWNER}

    @extend_schema(
        request=None, responses={200: OpenApiTypes.OBJECT, 409: ErrorSerializer, **ERRORS}
    )
    def post(self, request: Request, comparison_id: str) -> Response:
        """Send no more runs; what was measured stays."""
        comparison, caller = asking.get(comparison_id), caller_of(request)
        auth.check_owner(caller, comparison.owner, auth.CHANGE_COMPARISON)
        target = f"comparison {comparison.pk}"
        with audit.acting(Entrance.REST, caller.name, "cancel", target):
            if not asking.cancel(comparison):
                raise Conflict(f"{target} has ended already: {comparison.state}")
        return Response(report.document(comparison))
