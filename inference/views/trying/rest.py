"""/api/models/NAME/try/: one run of what people have, a text, a picture, a sound, told as they read it."""

from __future__ import annotations

from django.http import QueryDict
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import auth
from inference.catalog import registry
from inference.errors import InvalidRequest
from inference.trying import asking
from inference.trying.fields import fields
from inference.views.door import Door, caller_of
from inference.views.trying.given import given_of
from inference.wire.serializers.errors import ERRORS


class ModelTry(Door, APIView):
    """A model, tried."""

    rules = {"POST": auth.START_RUN}
    parser_classes = [MultiPartParser]
    takes = (
        "parts: text, or a file per input that is a picture or a sound, or tensors (npz, or JSON)"
    )

    @extend_schema(
        request={"multipart/form-data": OpenApiTypes.OBJECT},
        responses={200: OpenApiTypes.OBJECT, **ERRORS},
    )
    def post(self, request: Request, name: str) -> Response:
        """Run a model on texts, pictures or sounds, and wait for it.

        Parts: `text` (may come again), a file per input that is a picture or a sound, or `tensors` (npz, or
        JSON of name → list); `NAME.mean` and the like: a picture's form in place of the declared one;
        `browsers`, `platform`, `strategy`, `shards`.
        """
        model = registry.get_model(name)
        if not isinstance(request.data, QueryDict):
            raise InvalidRequest("expected multipart/form-data")
        given, wishes = given_of(request.data, request.FILES, fields(model))
        return Response(asking.tried(model, given, wishes, caller_of(request).name).told)
