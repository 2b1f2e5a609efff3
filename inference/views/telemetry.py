"""/api/telemetry/ and /metrics: the same facts for programs and for Prometheus."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.telemetry import telemetry
from inference.telemetry.prometheus import CONTENT_TYPE, exposition
from inference.telemetry.schema import TelemetryQuerySerializer, TelemetrySerializer
from inference.views.door import Door
from inference.wire.serializers.errors import ERRORS


class Telemetry(Door, APIView):
    queries = {"GET": [TelemetryQuerySerializer]}

    @extend_schema(responses={200: TelemetrySerializer, **ERRORS})
    def get(self, request: Request) -> Response:
        """System, connections, breakers, models, repairs, runs and latency; unknown is null."""
        asked = TelemetryQuerySerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return Response(telemetry(**asked.validated_data))


class Metrics(Door, APIView):
    queries = None  # a scraper's own words

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(exposition(telemetry()), content_type=CONTENT_TYPE)
