"""/api/browsers/: rows with live state, breakers and how they are reset."""

from __future__ import annotations

import time
from typing import Any

import redis.exceptions
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from browsers.models import Browser
from browsers.state import breakers
from browsers.state.glance import breakers_or_unknown, living_or_unknown
from inference import auth
from inference.errors import Unavailable, UnknownBrowser
from inference.views.door import Door
from inference.wire.serializers.browsers import (
    BreakersSerializer,
    BrowserDetailSerializer,
    BrowserSerializer,
    file_names,
)
from inference.wire.serializers.errors import ERRORS


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
    rules = {"POST": auth.CHANGE_BROWSER}

    @extend_schema(request=None, responses={200: BreakersSerializer, **ERRORS})
    def post(self, request: Request, pk: str) -> Response:
        """Close the circuit breakers of a browser, its own and those of models in it."""
        browser = _known_browser(pk)
        try:
            breakers.reset(browser.pk)
        except redis.exceptions.RedisError as error:
            raise Unavailable(
                f"Redis does not answer ({error}); the breakers are as before"
            ) from error
        return Response(breakers.describe(breakers.CLOSED, time.time()))
