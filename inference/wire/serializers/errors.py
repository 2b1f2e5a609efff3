"""What a refusal or a failure looks like, and which of them most views may give."""

from __future__ import annotations

from rest_framework import serializers

from browsers.core.failures import Category


class ErrorSerializer(serializers.Serializer[object]):
    """Every refusal and failure."""

    error = serializers.CharField()
    category = serializers.ChoiceField(choices=[category.value for category in Category])
    run = serializers.CharField(required=False)


ERRORS = dict.fromkeys((400, 401, 403, 404, 429, 503), ErrorSerializer)
