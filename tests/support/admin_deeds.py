"""Every form and action of the admin that changes something, with what it is sent and what it is done to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from browsers.models import BackendProof
from inference.catalog import registry
from inference.models import ApiKey, Comparison, OnnxModel
from inference.models.batches import BatchJob, JobState
from inference.zoo import micro

Form = dict[str, Any]
PASSWORD: Final = {
    "password1": "long enough 1",
    "password2": "long enough 1",
    "usable_password": "true",
}
TASK: Final = {
    "task": "inference.tasks.forget_old_runs", "args": "[]", "kwargs": "{}", "start_time_0": "",
    "start_time_1": "", "description": "",
}  # fmt: skip
NO_TASKS: Final = {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}


@dataclasses.dataclass
class Deed:
    """A form that is sent: to a page of which table, and as what the audit log tells it.

    `needs`: the permissions without which it is refused; none: whoever is let in may. `row` makes what it
    is done to.
    """

    table: str
    name: str
    form: Callable[[Any], Form]
    needs: tuple[str, ...]
    told: str
    page: str = ""
    row: Callable[[Path], Any] | None = None

    def address(self, row: Any) -> str:
        pk = getattr(row, "pk", "")
        return f"/admin/{self.table.replace('.', '/')}/{self.page.replace('*', str(pk))}"


def _new_model(folder: Path) -> OnnxModel:
    count = OnnxModel.objects.count()
    return registry.add_model(
        micro.chain(folder / f"{count}.onnx", layers=2, size=4), name=f"m{count}"
    )


def _proof(folder: Path) -> BackendProof:
    return BackendProof.objects.create(
        sha256="ab" * 32, kind="a", version=str(BackendProof.objects.count()), runtime="r", host="h",
        backend="webgpu", verdict="wrong",
    )  # fmt: skip


def _task(folder: Path) -> PeriodicTask:
    count = PeriodicTask.objects.count()
    interval = IntervalSchedule.objects.first()
    return PeriodicTask.objects.create(
        name=f"t{count}", task="inference.tasks.forget_old_runs", interval=interval
    )


def _user(folder: Path) -> User:
    return User.objects.create_user(f"subject{User.objects.count()}")


def _change_user(row: User) -> Form:
    joined = timezone.localtime(row.date_joined)
    return {
        "username": row.username, "first_name": "Ann", "is_active": "on",
        "date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}",
    }  # fmt: skip


def _change_task(row: PeriodicTask) -> Form:
    return {**TASK, "name": f"{row.name} again", "interval": row.interval_id, "priority": ""}


def _interval(folder: Path) -> IntervalSchedule:
    return IntervalSchedule.objects.create(
        every=100 + IntervalSchedule.objects.count(), period="days"
    )


ROWS: Final[dict[str, Callable[[Path], Any]]] = {
    "auth.group": lambda folder: Group.objects.create(name=f"g{Group.objects.count()}"),
    "auth.user": _user,
    "inference.apikey": lambda folder: ApiKey.objects.create(
        name=f"k{ApiKey.objects.count()}", prefix="wp", digest=f"{ApiKey.objects.count():064d}"
    ),
    "django_celery_beat.intervalschedule": _interval,
    "django_celery_beat.periodictask": _task,
    "browsers.backendproof": _proof,
    "inference.onnxmodel": _new_model,
    "inference.batchjob": lambda folder: BatchJob.objects.get(owner="somebody"),
    "inference.comparison": lambda folder: Comparison.objects.get(owner="somebody"),
}


def _upload(folder: Path) -> Form:
    path = micro.chain(folder / "uploaded.onnx", layers=3, size=4)
    return {
        "name": "uploaded", "model_type": "other",
        "file": SimpleUploadedFile("uploaded.onnx", path.read_bytes()),
    }  # fmt: skip


def _start(folder: Path) -> Form:
    written = json.dumps({"x": [1.0, 2.0, 3.0, 4.0]}).encode()
    model = OnnxModel.objects.get(name="permitted")
    return {"model": model.pk, "file": SimpleUploadedFile("in.jsonl", written)}


ADDED: Final[dict[str, Callable[[Path], Form]]] = {
    "auth.group": lambda folder: {"name": "made"},
    "auth.user": lambda folder: {"username": "made", **PASSWORD},
    "inference.apikey": lambda folder: {"name": "made", "active": "on"},
    "django_celery_beat.intervalschedule": lambda folder: {"every": "77", "period": "days", **NO_TASKS},
    "django_celery_beat.periodictask": lambda folder: {
        **TASK, "name": "made", "interval": IntervalSchedule.objects.all()[0].pk, "priority": "",
    },
    "inference.onnxmodel": _upload,
    "inference.batchjob": _start,
}  # fmt: skip
CHANGED: Final[dict[str, Callable[[Any], Form]]] = {
    "auth.group": lambda row: {"name": f"{row.name} again"},
    "auth.user": _change_user,
    "inference.apikey": lambda row: {"name": f"{row.name} again"},
    "django_celery_beat.intervalschedule": lambda row: {
        "every": row.every + 1000, "period": "days", **NO_TASKS,
    },
    "django_celery_beat.periodictask": _change_task,
}  # fmt: skip
# Of further actions on chosen rows: the permission, and as what the log tells it.
ACTIONS: Final = {
    ("django_celery_beat.periodictask", "enable_tasks"): ("change", "enable"),
    ("django_celery_beat.periodictask", "disable_tasks"): ("change", "disable"),
    ("django_celery_beat.periodictask", "run_tasks"): ("change", "run now"),
    ("inference.batchjob", "cancel"): ("change", "cancel"),
    ("inference.batchjob", "resume"): ("change", "resume"),
    ("inference.batchjob", "retry_failed"): ("change", "resume"),
    ("inference.comparison", "cancel"): ("change", "cancel"),
}
BUTTONS: Final = {
    "drain": "drain", "release": "release", "quarantine": "quarantine", "reset": "reset breakers",
    "restart": "restart",
}  # fmt: skip


def deeds(tables: Mapping[str, str], started: Mapping[str, str], folder: Path) -> Iterator[Deed]:
    """All that can be done to tables, by the rights there are to each, then to the pool.

    `started`: tables to which whoever is let in adds rows.
    """
    for table, rights in tables.items():
        row = ROWS.get(table)
        if "add" in rights:
            needs = () if table in started else _of(table, "add")
            yield Deed(table, "add", _filled(ADDED[table], folder), needs, "add", "add/")
        if "change" in rights:
            needs = _of(table, "change")
            yield Deed(table, "change", CHANGED[table], needs, "change", "*/change/", row)
            if table == "auth.user":
                form = _filled(dict, PASSWORD)
                yield Deed(table, "password", form, needs, "change", "*/password/", row)
        if "delete" in rights:
            needs, form = _of(table, "delete"), _filled(dict, {"post": "yes"})
            yield Deed(table, "delete", form, needs, "delete", "*/delete/", row)
            form = _chosen("delete_selected")
            yield Deed(table, "delete_selected", form, needs, "delete", "", row)
    for (table, name), (right, told) in ACTIONS.items():
        yield Deed(table, name, _chosen(name), _of(table, right), told, "", ROWS[table])
    for name, told in BUTTONS.items():
        form = _filled(dict, {"action": name, "confirmed": "yes"})
        yield Deed("pool.a", name, form, ("browsers.change_browser",), told)


def _of(table: str, right: str) -> tuple[str, ...]:
    """What it needs to do that to a table, and to look at it."""
    rights = [right, "view"]
    if (table, right) == ("auth.user", "add"):
        rights.append("change")  # as Django asks
    return tuple(table.replace(".", f".{one}_") for one in rights)


def _filled(fill: Callable[[Any], Form], given: Any) -> Callable[[Any], Form]:
    """A form that is the same whatever it is done to."""
    return lambda _: fill(given)


def _chosen(action: str) -> Callable[[Any], Form]:
    return lambda row: {"action": action, "_selected_action": [row.pk], "post": "yes"}


def prepare(deed: Deed, folder: Path) -> Any:
    """The row it is done to, in a state in which it can be done."""
    row: Any = deed.row(folder) if deed.row else None
    if deed.name == "enable_tasks":
        PeriodicTask.objects.filter(pk=row.pk).update(enabled=False)
    if deed.table == "inference.batchjob" and row:
        state = JobState.RUNNING if deed.name == "cancel" else JobState.CANCELLED
        BatchJob.objects.filter(pk=row.pk).update(state=state)
    return row
