"""/api/browsers/: rows with live state, breakers and how they are reset."""

from __future__ import annotations

import redis.exceptions
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from browsers import clock
from browsers.models import Browser
from browsers.state import breakers
from inference import auth
from inference.documents import JsonObject
from inference.errors import Unavailable
from inference.models import Entrance
from inference.scheduling.pool_view import get_browser
from inference.store import audit
from inference.views.door import Door, caller_of
from inference.wire.serializers.browsers import (
    BreakersSerializer,
    BrowserDetailSerializer,
    BrowserSerializer,
    what_is_known_now,
)
from inference.wire.serializers.errors import ERRORS


class _Browsers(Door, generics.GenericAPIView[Browser]):
    queryset = Browser.objects.all()

    def get_serializer_context(self) -> JsonObject:
        return {**super().get_serializer_context(), **what_is_known_now()}


class BrowserList(_Browsers, generics.ListAPIView[Browser]):
    """Every browser of the pool: its row, and what its worker says now."""

    serializer_class = BrowserSerializer


class BrowserDetail(_Browsers, generics.RetrieveAPIView[Browser]):
    """One browser, with its latest incidents."""

    serializer_class = BrowserDetailSerializer

    def get_object(self) -> Browser:
        return get_browser(self.kwargs["pk"])


class BreakerReset(Door, APIView):
    rules = {"POST": auth.CHANGE_BROWSER}

    @extend_schema(request=None, responses={200: BreakersSerializer, **ERRORS})
    def post(self, request: Request, pk: str) -> Response:
        """Close the circuit breakers of a browser, its own and those of models in it."""
        browser, who = get_browser(pk), caller_of(request).name
        try:
            with audit.acting(Entrance.REST, who, "reset breakers", f"browser {pk}"):
                breakers.reset(browser.pk)
        except redis.exceptions.RedisError as error:
            raise Unavailable(
                f"Redis does not answer ({error}); the breakers are as before"
            ) from error
        return Response(breakers.describe(breakers.CLOSED, clock.unix()))
