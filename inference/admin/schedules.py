"""The periodic tasks of django-celery-beat, at intervals alone, dressed like the rest of the admin."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from browsers.admin import PAGE_AGE
from inference.admin.audit import Audited, tell
from inference.comparisons.asking import of_schedule
from inference.errors import InvalidRequest
from inference.store.paths import sayable

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(_model)


class TaskSelect(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    pass


class PeriodicTaskForm(beat.PeriodicTaskForm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = TaskSelect()

    def clean(self) -> object:
        """Refuse here what a comparison would be refused for at night, when nobody looks."""
        found = super().clean()
        if "compare_model" in str(found.get("task")) and isinstance(found.get("kwargs"), str):
            try:
                model = dict(zip(("model",), json.loads(found.get("args") or "[]"), strict=False))
                of_schedule({**model, **json.loads(found["kwargs"])})
            except (InvalidRequest, ValueError, TypeError) as error:
                self.add_error("kwargs", sayable(str(error)))
        return found


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(Audited, beat.PeriodicTaskAdmin, ModelAdmin):
    form = PeriodicTaskForm
    list_before_template = PAGE_AGE
    change_form_template = None  # beat's tells of crontabs
    date_hierarchy = None
    list_display = ["name", "enabled", "interval", "last_run_at"]
    list_filter = ["enabled"]
    readonly_fields = ["last_run_at"]
    fieldsets = [
        (None, {"fields": ["name", "regtask", "task", "enabled", "description"]}),
        ("Schedule", {"fields": ["interval", "start_time", "last_run_at", "one_off"]}),
        ("Arguments", {"fields": ["args", "kwargs"], "classes": ["collapse"]}),
        (
            "How it is sent",
            {"fields": ["queue", "expires", "expire_seconds", "priority"], "classes": ["collapse"]},
        ),
    ]

    @admin.action(description="Enable", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        tasks = list(queryset)  # which may no longer be among those that the list shows
        super().enable_tasks(request, queryset)
        _tell(request, "enable", tasks)

    @admin.action(description="Disable", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        tasks = list(queryset)
        super().disable_tasks(request, queryset)
        _tell(request, "disable", tasks)

    @admin.action(description="Run now", permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """All of them, or none where one has a task that is not here: the page says which."""
        super().run_tasks(request, queryset)
        known = all(task.task in self.celery_app.tasks for task in queryset)
        _tell(request, "run now", queryset, done=known)

    actions = ["enable_tasks", "disable_tasks", "run_tasks"]


def _tell(
    request: HttpRequest, action: str, tasks: Iterable[PeriodicTask], *, done: bool = True
) -> None:
    for task in tasks:
        tell(request, action, f"periodic task {task.name}", done=done)


class TasksInline(beat.PeriodicTaskInline):
    fields = readonly_fields = ("name", "task", "enabled")


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(Audited, beat.IntervalScheduleAdmin, ModelAdmin):
    inlines = [TasksInline]
