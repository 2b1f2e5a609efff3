"""Where the admin leads: what webpool is asked first comes first."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.urls import reverse

from inference.documents import JsonObject


def groups(request: HttpRequest) -> list[JsonObject]:
    """The sidebar, for unfold: what the user may not see is left out."""
    may = request.user.has_perm
    return [
        _group(
            "Pool",
            _page("The pool, live", "monitoring", reverse("pool")),
            _list(may, "browsers.browser", "Browsers", "language"),
            _list(may, "browsers.poolevent", "Size of the pool", "swap_vert"),
            _list(may, "browsers.backendproof", "Proofs of backends", "verified"),
        ),
        _group(
            "Work",
            _page("Chat", "chat", reverse("chat")),
            _list(may, "inference.run", "Runs", "play_arrow"),
            _list(may, "inference.batchjob", "Batch jobs", "stacks"),
            _list(may, "inference.comparison", "Comparisons", "compare_arrows"),
            _list(may, "inference.onnxmodel", "Models", "deployed_code"),
            _list(may, "inference.plan", "Plans", "content_cut"),
        ),
        _group(
            "History",
            _page("Latency", "timeline", reverse("pictures-latency")),
            _page("Scores and recommendations", "grid_on", reverse("pictures-scores")),
            _page("Regressions", "trending_down", reverse("pictures-regressions")),
        ),
        _group(
            "Administration",
            _list(may, "inference.auditentry", "Audit log", "history"),
            _list(may, "inference.apikey", "API keys", "key"),
            _list(may, "auth.user", "Users", "person"),
            _list(may, "auth.group", "Groups", "group"),
            _list(may, "django_celery_beat.periodictask", "Schedules", "schedule"),
            _page("API docs", "api", reverse("docs")),
        ),
    ]


def _group(title: str, *items: JsonObject | None) -> JsonObject:
    return {"title": title, "items": [item for item in items if item], "collapsible": False}


def _page(title: str, icon: str, link: str) -> JsonObject:
    return {"title": title, "icon": icon, "link": link}


def _list(may: Callable[[str], bool], label: str, title: str, icon: str) -> JsonObject | None:
    """The list of a table, for users who may look at it."""
    app, name = label.split(".")
    if not may(f"{app}.view_{name}") and not may(f"{app}.change_{name}"):
        return None
    return _page(title, icon, reverse(f"admin:{app}_{name}_changelist"))
