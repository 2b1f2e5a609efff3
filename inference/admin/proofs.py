"""What came of trying files on backends, and how it is forgotten."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from browsers.admin import ReadOnly
from browsers.models import BackendProof
from inference.admin.audit import Audited


@admin.register(BackendProof)
class BackendProofAdmin(Audited, ReadOnly, ModelAdmin):
    """What came of trying files on backends; deleting a row has the backend tried again."""

    list_display = [
        "file", "kind", "version", "backend", "shapes", "verdict", "reason", "cases", "at",
    ]  # fmt: skip
    list_filter = ["verdict", "backend", "kind"]
    search_fields = ["sha256", "reason"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))

    @display(description="file (SHA-256)")
    def file(self, row: BackendProof) -> str:
        return row.sha256[:16]
