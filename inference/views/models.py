"""/api/models/ and /api/plans/: what is registered, and how it was cut."""

from __future__ import annotations

from typing import cast

from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework import generics, status
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import auth
from inference.catalog import expectations, plans, registry, uploads
from inference.errors import InvalidRequest
from inference.models import Entrance, OnnxModel, Plan
from inference.runs import options
from inference.store import audit
from inference.views.door import Door, asked, caller_of
from inference.wire.bodies import BoundedJSON
from inference.wire.serializers.errors import ERRORS, ErrorSerializer
from inference.wire.serializers.models import (
    ManifestRequestSerializer,
    ModelDetailSerializer,
    ModelSerializer,
    ModelUploadSerializer,
    PlanOfSerializer,
    PlanRequestSerializer,
    PlanSerializer,
)


class ModelList(Door, generics.ListAPIView[OnnxModel]):
    """Registered models."""

    rules = {"POST": auth.ADD_MODEL}
    queryset = OnnxModel.objects.all()
    serializer_class = ModelSerializer
    parser_classes = [MultiPartParser, FormParser, BoundedJSON]
    takes = "parts: file or manifest, name, model_type"

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
        model = _uploaded(request) if request.FILES else _described(request)
        who = caller_of(request).name
        audit.record(Entrance.REST, who, "add", f"model {model.name}", model.sha256)
        return Response(ModelDetailSerializer(model).data, status=status.HTTP_201_CREATED)


def _uploaded(request: Request) -> OnnxModel:
    fields = cast("QueryDict", request.data)
    lists = {key: request.FILES.getlist(key) for key in ("components", "external_data")}
    lists["overrides"] = fields.getlist("overrides")
    given = asked(ModelUploadSerializer, {**fields.dict(), **lists})
    words = {
        "name": given["name"],
        "model_type": given["model_type"],
        "tokenizer": given.get("tokenizer"),
    }

    def register() -> OnnxModel:
        if "file" in given:
            return uploads.register_upload(
                given["file"],
                external_data=given["external_data"],
                overrides=given["overrides"],
                **words,
            )
        files = [*given["components"], *given["external_data"]]
        return uploads.register_manifest(given["manifest"], files=files, **words)

    return expectations.registered(register, given.get("expectations"))


def _described(request: Request) -> OnnxModel:
    if isinstance(request.data, QueryDict):
        raise InvalidRequest(
            "expected an ONNX 'file' or a 'manifest' with its 'components' as files"
        )
    given = asked(ManifestRequestSerializer, request.data)
    return uploads.register_document(
        given["manifest"], name=given["name"], model_type=given["model_type"]
    )


class ModelDetail(Door, APIView):
    """One model with what was read from its graph, legal cuts included."""

    rules = {"DELETE": auth.DELETE_MODEL}

    @extend_schema(responses={200: ModelDetailSerializer, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        return Response(ModelDetailSerializer(registry.get_model(name)).data)

    @extend_schema(responses={204: None, 409: ErrorSerializer, **ERRORS})
    def delete(self, request: Request, name: str) -> Response:
        """Remove a model with its plans, runs and files; refused while runs of it are active."""
        model, who = registry.get_model(name), caller_of(request).name
        with audit.acting(Entrance.REST, who, "delete", f"model {model.name}") as said:
            said.detail = model.sha256
            uploads.remove_model(model)
        return Response(status=status.HTTP_204_NO_CONTENT)


class PlanList(Door, generics.ListAPIView[Plan]):
    """Plans that were cut so far: bytes, cost and crossing tensors of each shard."""

    rules = {"POST": auth.ADD_PLAN}
    queryset = Plan.objects.select_related("model").prefetch_related("shards")
    serializer_class = PlanSerializer

    @extend_schema(request=PlanRequestSerializer, responses={200: PlanSerializer, **ERRORS})
    def post(self, request: Request) -> Response:
        """Cut a model, or show how it was cut before: same request, same plan."""
        form = PlanOfSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        own = form.validated_data
        given = {name: value for name, value in dict(request.data).items() if name not in own}
        wishes = options.parse_options(given, options.Door.PLANS)
        model, who = registry.get_model(own["model"]), caller_of(request).name
        with audit.acting(Entrance.REST, who, "cut", f"model {model.name}") as said:
            plan = plans.asked_plan(model, **wishes, tenant=who)
            said.detail, said.changed = str(plan), plan.is_new
        return Response(PlanSerializer(plan).data)


class PlanDetail(Door, generics.RetrieveAPIView[Plan]):
    """One plan."""

    queryset = Plan.objects.select_related("model").prefetch_related("shards")
    serializer_class = PlanSerializer
