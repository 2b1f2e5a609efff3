"""The telemetry document for the published API; `inference.telemetry.telemetry` makes it."""

from __future__ import annotations

from rest_framework import serializers

Fields = serializers.Serializer[object]


def _number(about: str = "") -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=about)


class QuantilesSerializer(Fields):
    """Durations in milliseconds; the quantiles are measured values, null where there is none."""

    count = serializers.IntegerField()
    p50_ms = _number()
    p95_ms = _number()
    sum_ms = serializers.FloatField()


class RedisSerializer(Fields):
    answers = serializers.BooleanField()
    used_mb = _number()
    cap_mb = _number("null: the server has none")
    queues = serializers.DictField(
        child=serializers.IntegerField(), allow_null=True, help_text="messages waiting, by queue"
    )


class SystemSerializer(Fields):
    """The machine that answers."""

    host = serializers.CharField()
    cores = serializers.IntegerField(allow_null=True)
    load_1m = serializers.FloatField()
    load_5m = serializers.FloatField()
    load_15m = serializers.FloatField()
    memory_total_mb = serializers.FloatField()
    memory_available_mb = serializers.FloatField()
    memory_used_percent = serializers.FloatField()
    disk_total_mb = serializers.FloatField(help_text="of the disk that holds WEBPOOL_HOME")
    disk_free_mb = serializers.FloatField()
    redis = RedisSerializer()


class ConnectionBackendSerializer(Fields):
    name = serializers.CharField()
    software = serializers.BooleanField(allow_null=True)
    probe_ms = _number()


class ConnectionSerializer(Fields):
    """A browser and its worker; live facts are null without a lease."""

    id = serializers.CharField()
    kind = serializers.CharField()
    family = serializers.CharField()
    state = serializers.CharField()
    reason = serializers.CharField()
    connected = serializers.BooleanField(
        allow_null=True, help_text="its worker holds its lease; null: Redis does not answer"
    )
    lease_age_s = _number("since the worker last spoke")
    idle = serializers.BooleanField(allow_null=True)
    version = serializers.CharField(allow_null=True)
    driver_version = serializers.CharField(allow_null=True)
    host = serializers.CharField(allow_null=True)
    zone = serializers.CharField(allow_null=True)
    backends = ConnectionBackendSerializer(many=True, allow_null=True)
    memory_mb = _number("proportional set size of the browser's process tree")
    page_mb = _number("as the page measures itself; null where the browser does not tell")
    js_heap_mb = _number("likewise: Chromium's")
    memory_limit_mb = _number()
    short_of_memory = serializers.BooleanField(allow_null=True)
    resident_bytes = serializers.IntegerField(allow_null=True)
    starts = serializers.IntegerField()
    restarts = serializers.IntegerField(help_text="times that its worker started it anew")
    repairs = serializers.IntegerField()
    state_changed_at = serializers.DateTimeField(allow_null=True)


class ResidentModelSerializer(Fields):
    browser = serializers.CharField()
    sha256 = serializers.CharField()
    name = serializers.CharField(allow_null=True, help_text="the model or shard with these bytes")
    backend = serializers.CharField()
    bytes = serializers.IntegerField()
    compute_ms = _number("moving average")
    leak_mb = _number(
        "growth of the browser with each run of it, while nothing else ran; null: unknown"
    )
    known_answer = serializers.BooleanField(
        allow_null=True,
        help_text="whether idle browsers are asked for a known answer; null: not yet",
    )
    confirmed_at = _number("Unix time; when its known answer was last right; null: not yet")


class RungSerializer(Fields):
    """A rung of the ladder, per family and error category, over the latest 10,000 repairs."""

    rung = serializers.CharField()
    family = serializers.CharField()
    category = serializers.CharField()
    attempts = serializers.IntegerField(help_text="repairs whose outcome is known")
    successes = serializers.IntegerField()
    unknown = serializers.IntegerField(help_text="repairs whose outcome nobody wrote down")
    reclaimed_mb = _number("memory given back, together; null: never measured")
    durations = QuantilesSerializer()


class AttemptCountSerializer(Fields):
    outcome = serializers.CharField()
    browser = serializers.CharField()
    backend = serializers.CharField(allow_null=True)
    count = serializers.IntegerField()


class ComputingSerializer(Fields):
    browser = serializers.CharField()
    backend = serializers.CharField()
    compute_ms = QuantilesSerializer()


class LatencySerializer(Fields):
    """The last minutes."""

    window_s = serializers.FloatField()
    ended = serializers.DictField(child=serializers.IntegerField(), help_text="runs, by state")
    succeeded_ms = QuantilesSerializer(
        help_text="creation to end of the latest runs that succeeded, 2,000 at most"
    )
    computing = ComputingSerializer(many=True)


class HistoryFactsSerializer(Fields):
    samples = serializers.IntegerField(allow_null=True)
    taken_age_s = _number("everything older is in history")
    recomputed_age_s = _number("age of scores and recommendations")


class TelemetrySerializer(Fields):
    """The whole pool as it is now; what nobody measured is null."""

    at = serializers.DateTimeField()
    system = SystemSerializer()
    connections = ConnectionSerializer(many=True, required=False)
    breakers = serializers.ListField(
        child=serializers.DictField(), allow_null=True, help_text="null: not known"
    )
    models = ResidentModelSerializer(many=True, required=False, allow_null=True)
    rungs = RungSerializer(many=True)
    models_registered = serializers.IntegerField()
    runs = serializers.DictField(child=serializers.IntegerField(), help_text="kept, by state")
    open_shards = serializers.DictField(child=serializers.IntegerField())
    attempts = AttemptCountSerializer(many=True)
    latency = LatencySerializer()
    history = HistoryFactsSerializer()


class TelemetryQuerySerializer(Fields):
    include_connections = serializers.BooleanField(default=True)
    include_models = serializers.BooleanField(default=True)
