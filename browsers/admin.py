"""The pool in the admin: what each browser is, and how it feels this second. Read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from browsers import clock
from browsers.models import Browser, BrowserState, Incident, PoolEvent
from browsers.state.glance import living_or_unknown, shown_state
from browsers.state.live import DRAINING, QUARANTINED, LiveBrowser, LiveModel
from webpool_site.telling import units
from webpool_site.telling.columns import Told, told
from webpool_site.telling.outline import outline
from webpool_site.telling.units import UNKNOWN

NO_REDIS = "unknown (Redis does not answer)"
_CELL = "text-align:left;padding:2px 14px 2px 0"


PAGE_AGE = "inference/page_age.html"


class ReadOnly(Told):
    """Mixin: the program writes these rows, people look at them; a list says of when it is."""

    list_before_template = PAGE_AGE

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Rows(ReadOnly, TabularInline):
    """A table of other rows on a row's page, without the forms that nobody may fill in."""

    template = "inference/inline.html"
    extra = 0
    per_page = 50

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return told(self.model, self.fields)


def table(head: list[str], rows: list[list[Any]]) -> SafeString:
    """A plain table; every cell is escaped."""
    if not rows:
        return format_html("<span>{}</span>", "none")
    cells = format_html_join("", f'<th style="{_CELL}">{{}}</th>', ((h,) for h in head))
    body = format_html_join(
        "",
        "<tr>{}</tr>",
        (
            (format_html_join("", f'<td style="{_CELL}">{{}}</td>', ((c,) for c in row)),)
            for row in rows
        ),
    )
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", cells, body)


class IncidentInline(Rows):
    model = Incident
    fields = ["at", "category", "message", "rung", "repaired", "duration_ms", "reclaimed_mb"]
    tab = True


@admin.register(Browser)
class BrowserAdmin(ReadOnly, ModelAdmin):
    list_display = [
        "id", "shown_state", "family", "version", "host", "shown_backends", "memory", "loaded_count",
        "last_heartbeat", "repairs",
    ]  # fmt: skip
    list_filter = ["state", "family", "host"]
    search_fields = ["id", "version"]
    change_form_outer_before_template = PAGE_AGE
    inlines = [IncidentInline]
    fieldsets = [
        (None, {"fields": [
            "shown_state", "reason", "state_changed_at", "drained_at", "drain_reason", "last_heartbeat",
            "memory", "memory_limit_mb", "loaded_models",
        ]}),
        ("Backends", {"fields": ["backend_table"]}),
        ("Build and machine", {"classes": ["collapse"], "fields": [
            "id", "kind", "family", "version", "driver_version", "user_agent", "host", "zone", "cores",
            "system_memory_mb", "gpu",
        ]}),
        ("Life", {"classes": ["collapse"], "fields": ["worker_pid", "starts", "repairs", "created_at"]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        self._living = living_or_unknown()
        return super().get_queryset(request)

    def _live(self, row: Browser) -> LiveBrowser | None:
        return (self._living or {}).get(row.pk)

    @display(
        description="state",
        label={
            BrowserState.READY: "success",
            BrowserState.STARTING: "info",
            BrowserState.RECOVERING: "warning",
            DRAINING: "warning",
            QUARANTINED: "danger",
            BrowserState.FAILED: "danger",
            "down": "danger",
            "unknown": "danger",
        },
    )
    def shown_state(self, row: Browser) -> str:
        return shown_state(row, self._living)

    @display(description="backends")
    def shown_backends(self, row: Browser) -> str:
        shown = []
        for backend in row.backends:
            if backend.get("probe_ok"):
                software = {True: " (software)", False: ""}.get(backend.get("software"), "")
                shown.append(f"{backend['name']}{software}")
        return ", ".join(shown) or UNKNOWN

    @display(description="memory")
    def memory(self, row: Browser) -> str:
        live = self._live(row)
        return units.megabytes(live.memory_mb if live else None)

    @display(description="models loaded")
    def loaded_count(self, row: Browser) -> str:
        live = self._live(row)
        return str(len(live.loaded)) if live else UNKNOWN

    @display(description="last heartbeat")
    def last_heartbeat(self, row: Browser) -> str:
        live = self._live(row)
        if live is None:
            return NO_REDIS if self._living is None else "lease has ended"
        return f"{max(0.0, clock.unix() - live.heartbeat):.1f} s ago"

    @display(description="models loaded")
    def loaded_models(self, row: Browser) -> SafeString | str:
        live = self._live(row)
        if live is None:
            return UNKNOWN
        return table(
            ["file (SHA-256)", "backend", "size", "compute, moving average", "known answer"],
            [
                [
                    sha256[:16],
                    model.backend,
                    units.size(model.bytes),
                    units.milliseconds(model.compute_ms),
                    _confirmed(model),
                ]
                for sha256, model in sorted(live.loaded.items())
            ],
        )

    @display(description="as last asked")
    def backend_table(self, row: Browser) -> SafeString:
        columns = ["name", "adapter", "software", "bundle", "probe_ok", "probe_ms", "error"]
        return table(
            [units.without_unit(column).replace("_", " ") for column in columns],
            [[outline(item.get(column), column) for column in columns] for item in row.backends],
        )


@admin.register(PoolEvent)
class PoolEventAdmin(ReadOnly, ModelAdmin):
    list_display = ["at", "action", "browser", "reason", "browsers", "utilisation"]
    list_filter = ["action", "kind"]


def _confirmed(model: LiveModel) -> str:
    if model.confirmed_at is not None:
        return f"right {max(0.0, clock.unix() - model.confirmed_at):.0f} s ago"
    return "none" if model.known_answer is False else "not asked yet"
