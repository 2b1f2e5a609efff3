"""Browsers: their rows, what their workers say now, their breakers and incidents."""

from __future__ import annotations

from collections.abc import Mapping

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from browsers import clock
from browsers.connections import loaded_models
from browsers.models import Browser, Incident
from browsers.state import breakers
from browsers.state.glance import breakers_or_unknown, living_or_unknown
from browsers.state.live import LiveBrowser
from inference.documents import JsonObject
from inference.models import OnnxModel, PlanStep


class LoadedSerializer(serializers.Serializer[object]):
    sha256 = serializers.CharField()
    name = serializers.CharField(allow_null=True, help_text="the model or shard with these bytes")
    backend = serializers.CharField()
    bytes = serializers.IntegerField()
    compute_ms = serializers.FloatField(allow_null=True)
    leak_mb = serializers.FloatField(
        allow_null=True, help_text="growth of the browser with each run of it; null: not known"
    )
    known_answer = serializers.BooleanField(
        allow_null=True,
        help_text="whether idle browsers are asked for a known answer; null: not yet",
    )
    confirmed_at = serializers.FloatField(
        allow_null=True, help_text="when its known answer was last right; Unix time; null: not yet"
    )


class BreakerSerializer(serializers.Serializer[object]):
    """A circuit breaker: closed, open until `half_open_at`, or half_open, with one probe at a time."""

    state = serializers.CharField()
    failures = serializers.IntegerField(help_text="in a row, while closed")
    half_open_at = serializers.FloatField(allow_null=True, help_text="Unix time; null unless open")
    cooldown_s = serializers.FloatField(allow_null=True, help_text="of the latest opening")
    probing = serializers.BooleanField()


class ModelBreakerSerializer(BreakerSerializer):
    sha256 = serializers.CharField()


class BreakersSerializer(BreakerSerializer):
    """The browser's breaker, and those of models in it that are not spotless."""

    models = ModelBreakerSerializer(many=True)


class LiveSerializer(serializers.Serializer[object]):
    """What the browser's worker said last; null as a whole when its lease has run out, or is not known."""

    state = serializers.CharField()
    heartbeat_age_ms = serializers.FloatField()
    memory_mb = serializers.FloatField(allow_null=True)
    memory_limit_mb = serializers.FloatField(allow_null=True)
    page_mb = serializers.FloatField(allow_null=True, help_text="as the page measures itself")
    js_heap_mb = serializers.FloatField(allow_null=True, help_text="Chromium's")
    resident_bytes = serializers.IntegerField()
    short_of_memory = serializers.BooleanField(
        help_text="it will make room between two tasks; others are preferred meanwhile"
    )
    loaded = LoadedSerializer(many=True)


def live_facts(live: LiveBrowser | None, names: Mapping[str, str]) -> JsonObject | None:
    """Live state as JSON; `names` says which model or shard a file is."""
    if live is None:
        return None
    return {
        "state": live.state,
        "heartbeat_age_ms": max(0.0, (clock.unix() - live.heartbeat) * 1000),
        "memory_mb": live.memory_mb,
        "page_mb": live.page_mb,
        "js_heap_mb": live.js_heap_mb,
        "memory_limit_mb": live.memory_limit_mb,
        "resident_bytes": live.resident_bytes,
        "short_of_memory": live.short_of_memory,
        "loaded": loaded_models(live, names),
    }


def file_names(files: set[str]) -> dict[str, str]:
    """SHA-256 → the model, or the shard of a plan, that has these bytes."""
    shards = PlanStep.objects.filter(sha256__in=files).select_related("plan__model")
    names = {shard.sha256: str(shard) for shard in shards}
    names.update(OnnxModel.objects.filter(sha256__in=files).values_list("sha256", "name"))
    return names


class IncidentSerializer(serializers.ModelSerializer[Incident]):
    class Meta:
        model = Incident
        fields = ["at", "category", "message", "rung", "repaired", "duration_ms", "reclaimed_mb"]


def what_is_known_now() -> JsonObject:
    """The context of the serializers of browsers."""
    alive = living_or_unknown()
    files = {sha256 for live in (alive or {}).values() for sha256 in live.loaded}
    known = breakers_or_unknown(Browser.objects.values_list("pk", flat=True))
    return {"living": alive, "breakers": known, "names": file_names(files)}


class BrowserSerializer(serializers.ModelSerializer[Browser]):
    """Context: `living` and `breakers` (by id, None: not known), and `names`, as `what_is_known_now` says."""

    breaker = serializers.SerializerMethodField()
    live = serializers.SerializerMethodField()
    live_unknown = serializers.SerializerMethodField(
        help_text="true: Redis does not answer, so nobody knows whether the browser lives"
    )

    class Meta:
        model = Browser
        fields = [
            "id", "kind", "family", "state", "reason", "version", "driver_version", "user_agent", "host",
            "zone", "cores", "system_memory_mb", "gpu", "memory_limit_mb", "backends", "starts",
            "repairs", "state_changed_at", "drained_at", "drain_kind", "drain_reason", "breaker",
            "live", "live_unknown",
        ]  # fmt: skip

    @extend_schema_field(BreakersSerializer(allow_null=True))
    def get_breaker(self, row: Browser) -> JsonObject | None:
        known = self.context["breakers"]
        return None if known is None else breakers.describe(known[row.pk], clock.unix())

    @extend_schema_field(LiveSerializer(allow_null=True))
    def get_live(self, row: Browser) -> JsonObject | None:
        return live_facts((self.context["living"] or {}).get(row.pk), self.context["names"])

    def get_live_unknown(self, row: Browser) -> bool:
        return self.context["living"] is None


class DrainRequestSerializer(serializers.Serializer[object]):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)


class DrainingSerializer(serializers.Serializer[object]):
    browser = serializers.CharField()
    moved = serializers.IntegerField(help_text="shards that waited for it and went to others")
    left = serializers.IntegerField(
        help_text="shards that it still computes, or that no other browser may take"
    )
    others = serializers.IntegerField(help_text="browsers of the pool that still take shards")


class UndrainedSerializer(serializers.Serializer[object]):
    browser = serializers.CharField()
    was_drained = serializers.BooleanField()


class BrowserDetailSerializer(BrowserSerializer):
    incidents = serializers.SerializerMethodField(help_text="the last 50")

    class Meta(BrowserSerializer.Meta):
        fields = [*BrowserSerializer.Meta.fields, "incidents"]

    @extend_schema_field(IncidentSerializer(many=True))
    def get_incidents(self, row: Browser) -> object:
        return IncidentSerializer(row.incidents.all()[:50], many=True).data
