"""/api/browsers/<id>/drain/ and /undrain/."""

from __future__ import annotations

import dataclasses

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import auth
from inference.ledger import draining
from inference.models import Entrance
from inference.store import audit
from inference.views.door import Door, asked, caller_of
from inference.wire.serializers.browsers import (
    DrainingSerializer,
    DrainRequestSerializer,
    UndrainedSerializer,
)
from inference.wire.serializers.errors import ERRORS


class BrowserDrain(Door, APIView):
    rules = {"POST": auth.CHANGE_BROWSER}

    @extend_schema(request=DrainRequestSerializer, responses={200: DrainingSerializer, **ERRORS})
    def post(self, request: Request, pk: str) -> Response:
        """The browser takes no new shards; what waits for it moves, what it computes is finished.

        `left` is what it still holds. It stays drained, over restarts too, until `undrain`.
        """
        wanted = asked(DrainRequestSerializer, request.data)
        who = caller_of(request).name
        reason = wanted["reason"] or f"asked for by {who}"
        with audit.acting(Entrance.REST, who, "drain", f"browser {pk}") as said:
            done = draining.drain(pk, reason=reason)
            said.detail = str(done)
        return Response(dataclasses.asdict(done))


class BrowserUndrain(Door, APIView):
    rules = {"POST": auth.CHANGE_BROWSER}

    @extend_schema(request=None, responses={200: UndrainedSerializer, **ERRORS})
    def post(self, request: Request, pk: str) -> Response:
        """The browser takes shards again."""
        who = caller_of(request).name
        with audit.acting(Entrance.REST, who, "release", f"browser {pk}") as said:
            was_drained = draining.undrain(pk)
            said.detail = "takes shards again" if was_drained else "was not drained"
        return Response({"browser": pk, "was_drained": was_drained})
