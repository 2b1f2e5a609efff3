"""/, /api/schema/ and /api/docs/, and the answer to paths that are not there."""

from __future__ import annotations

import functools
from typing import cast
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.request import Request
from rest_framework.views import APIView

from browsers import locations
from inference import auth
from inference.errors import InvalidRequest
from inference.views.door import Door
from inference.wire.queries import text


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What webpool is and where to go; it tells nothing of the pool, so that anybody may read it."""
    python = ".venv/bin/python " if locations.CHECKOUT else ""
    told = {
        "address": request.build_absolute_uri("/")[:-1],
        "program": python + locations.PROGRAM,
        "checkout": locations.CHECKOUT,
    }
    return render(request, "inference/home.html", told)


class Schema(Door, SpectacularAPIView):
    queries = {"GET": [text("format", "", enum=["json", "yaml"])]}
    renderer_classes = SpectacularAPIView.renderer_classes
    content_negotiation_class = SpectacularAPIView.content_negotiation_class

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """It is the same for everybody, and takes a second to put together."""
        kind = request.accepted_renderer.media_type
        named = {
            "Content-Disposition": f'inline; filename="webpool.{request.accepted_renderer.format}"'
        }
        return HttpResponse(_schema(kind), content_type=kind, headers=named)


@functools.cache
def _schema(media_type: str) -> bytes:
    document = SpectacularAPIView.generator_class().get_schema(public=True)  # type: ignore[no-untyped-call]
    kinds = {each.media_type: each for each in SpectacularAPIView.renderer_classes}
    return cast("bytes", kinds[media_type]().render(document, renderer_context={}))


class Docs(Door, SpectacularSwaggerView):
    queries = None  # those of its page
    renderer_classes = SpectacularSwaggerView.renderer_classes
    content_negotiation_class = SpectacularSwaggerView.content_negotiation_class
    url_name = "schema"
    http_method_names = ["get", "head"]  # of OPTIONS its page could not tell


class UnknownPath(InvalidRequest):
    status = 404


class NoSuchPath(Door, APIView):
    queries = None
    rules = dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), auth.ANYBODY)

    @extend_schema(exclude=True)
    def get(self, request: Request, path: str) -> HttpResponse:
        if not path.endswith("/") and request.method == "GET":
            return HttpResponsePermanentRedirect(f"/api/{quote(path)}/")
        hint = "" if path.endswith("/") else " (paths end with a slash)"
        raise UnknownPath(f"/api/{path} does not exist{hint}; /api/docs/ lists what does")

    post = put = patch = delete = get
