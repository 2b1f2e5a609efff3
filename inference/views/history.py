"""/api/history/…: what was measured and what follows from it; the answers are history's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from history import answers
from history.core.samples import PLATFORMS
from history.errors import HistoryBusy, Refused
from inference import auth
from inference.documents import JsonObject
from inference.errors import InvalidRequest, Unavailable
from inference.models import ModelType
from inference.views.door import Door, asked
from inference.wire.serializers.errors import ERRORS


class _FilterSerializer(serializers.Serializer[object]):
    browser = serializers.CharField(required=False, help_text="kind of browser")
    model_type = serializers.ChoiceField(choices=ModelType.choices, required=False)
    model_name = serializers.CharField(required=False)
    days = serializers.FloatField(required=False, help_text="only of so many days")


class PerformanceQuerySerializer(_FilterSerializer):
    limit = serializers.IntegerField(default=100, min_value=1, max_value=answers.MOST_SAMPLES)


class SeriesQuerySerializer(_FilterSerializer):
    platform = serializers.ChoiceField(choices=PLATFORMS, required=False)


class ModelQuerySerializer(serializers.Serializer[object]):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    model_name = serializers.CharField(default="", help_text="empty: any model of the type")


class NamedModelQuerySerializer(serializers.Serializer[object]):
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    model_name = serializers.CharField()


class ScoresQuerySerializer(serializers.Serializer[object]):
    browser = serializers.CharField(required=False)
    model_type = serializers.ChoiceField(choices=ModelType.choices, required=False)


class RegressionsQuerySerializer(serializers.Serializer[object]):
    state = serializers.ChoiceField(choices=("open", "closed"), required=False)


class MetricsSerializer(serializers.Serializer[object]):
    browser = serializers.CharField()
    model_type = serializers.ChoiceField(choices=ModelType.choices)
    model_name = serializers.CharField()
    platform = serializers.ChoiceField(choices=PLATFORMS)
    metrics = serializers.DictField(
        child=serializers.FloatField(),
        help_text="latency_ms, throughput_tokens_per_sec, memory_mb: some of them",
    )


class _History(Door, APIView):
    """Every answer is a JSON document; `as_of` says when the copy that was read was complete."""

    def answer(
        self,
        ask: Callable[..., object],
        serializer: type[serializers.Serializer[object]],
        data: object,
    ) -> Response:
        try:
            return Response(ask(**asked(serializer, data)))
        except Refused as error:
            raise InvalidRequest(str(error)) from error
        except HistoryBusy as error:
            raise Unavailable(str(error)) from error


_ANSWERS = {200: OpenApiTypes.OBJECT, **ERRORS}


class Performance(_History):
    queries = {"GET": [PerformanceQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """The latest samples as recorded, newest first."""
        return self.answer(_performance, PerformanceQuerySerializer, request.query_params)


def _performance(*, limit: int, **filters: Any) -> JsonObject:
    return answers.performance(**filters, most=limit)


class Recommendation(_History):
    queries = {"GET": [ModelQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """The browser for a model, with its evidence; `known` false: history knows nothing."""
        return self.answer(answers.recommendation, ModelQuerySerializer, request.query_params)


class Scores(_History):
    queries = {"GET": [ScoresQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """Capability scores, each with interval, sample size and time."""
        return self.answer(_scores, ScoresQuerySerializer, request.query_params)


def _scores(**filters: Any) -> JsonObject:
    return {"scores": answers.scores(**filters)}


class Comparison(_History):
    queries = {"GET": [NamedModelQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """Browsers on the same work of a model, fastest first, with corrected p-values."""
        return self.answer(answers.compare, NamedModelQuerySerializer, request.query_params)


class Trends(_History):
    queries = {"GET": [SeriesQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """Trend and change points of each series."""
        return self.answer(answers.trends, SeriesQuerySerializer, request.query_params)


class Anomalies(_History):
    queries = {"GET": [SeriesQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """The latest latency of each series against those before it."""
        return self.answer(answers.found_anomalies, SeriesQuerySerializer, request.query_params)


class Judgement(_History):
    rules = {"POST": auth.ANYBODY}

    @extend_schema(request=MetricsSerializer, responses=_ANSWERS)
    def post(self, request: Request) -> Response:
        """Whether the given metrics are unlike those measured before; stores nothing."""
        return self.answer(answers.detect_anomalies, MetricsSerializer, request.data)


class Regressions(_History):
    queries = {"GET": [RegressionsQuerySerializer]}

    @extend_schema(responses=_ANSWERS)
    def get(self, request: Request) -> Response:
        """Builds that made the same work slower; open and closed."""
        return self.answer(_regressions, RegressionsQuerySerializer, request.query_params)


def _regressions(state: str | None = None) -> JsonObject:
    return {"regressions": answers.regressions(state)}
