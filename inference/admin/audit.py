"""The audit log: what operators did, by whichever door; and how pages of the admin tell it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from browsers.admin import ReadOnly
from inference.models import AuditEntry, Entrance
from inference.store import audit


def tell(
    request: HttpRequest, action: str, target: Model | str, detail: str = "", *, done: bool = True
) -> None:
    """Write down what the logged-in user did to a row, or to what is named."""
    who = request.user.get_username()
    audit.record(Entrance.ADMIN, who, action, named(target), detail, done=done)


def named(target: Model | str) -> str:
    """A row as `kind name`; words stay as they are."""
    return target if isinstance(target, str) else f"{target._meta.verbose_name} {target}"


class Audited:
    """Mixin: whatever people add, change or delete on these pages is in the audit log, too."""

    def log_addition(self, request: HttpRequest, obj: Model, message: object) -> LogEntry:
        tell(request, "add", obj)
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: object) -> LogEntry:
        entry: LogEntry = super().log_change(request, obj, message)  # type: ignore[misc]
        tell(request, "change", obj, entry.get_change_message())
        return entry

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[LogEntry]:
        for row in queryset:
            tell(request, "delete", row)
        entries: list[LogEntry] = super().log_deletions(request, queryset)  # type: ignore[misc]
        return entries


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, ModelAdmin):
    list_display = ["at", "who", "door", "action", "target", "result", "shown_detail"]
    list_filter = ["door", "action", "done"]
    search_fields = ["who", "target", "detail"]
    fields = ["at", "who", "door", "action", "target", "result", "detail"]

    @display(description="result", label={"done": "success", "not done": "danger"})
    def result(self, entry: AuditEntry) -> str:
        return "done" if entry.done else "not done"

    @display(description="detail")
    def shown_detail(self, entry: AuditEntry) -> str:
        return entry.detail if len(entry.detail) < 120 else f"{entry.detail[:119]}…"
