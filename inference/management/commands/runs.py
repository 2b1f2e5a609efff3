"""manage.py runs: list runs, show one, or cancel it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TypedDict

from inference.catalog import registry, uploads
from inference.errors import InvalidRequest
from inference.ledger import endings
from inference.management.cli import TypedCommand
from inference.management.listing import write_table
from inference.models import Run, RunState
from inference.runs.answers import get_run
from inference.store.audit import machine_user
from inference.wire.serializers.runs import RunDetailSerializer, RunSerializer
from webpool_site.telling.documents import write_json

_COLUMNS = (
    "id",
    "model",
    "strategy",
    "num_shards",
    "state",
    "created_at",
    "inference_time_ms",
    "error",
)

_MOST = 1_000_000


class _Options(TypedDict):
    id: str | None
    cancel: bool
    state: str | None
    model: str | None
    limit: int
    json: bool


class Command(TypedCommand[_Options]):
    help = "List runs, the latest first; with an id, show that one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", nargs="?", help="show this run, as JSON")
        parser.add_argument(
            "--cancel", action="store_true", help="end it; nobody wants it any more"
        )
        parser.add_argument("--state", choices=[state.value for state in RunState])
        parser.add_argument("--model", help="only runs of this model")
        parser.add_argument("--limit", type=int, default=20)
        parser.add_argument("--json", action="store_true", help="as GET /api/runs/")

    def carry_out(self, options: _Options) -> None:
        if not options["id"]:
            if options["cancel"]:
                raise InvalidRequest("--cancel: expected the id of a run before it")
            return self._list(options)
        run = get_run(options["id"])
        if not options["cancel"]:
            return write_json(self.stdout, RunDetailSerializer(run).data)
        with self.acting("cancel", f"run {run.pk}"):
            if not endings.cancel(run.pk, f"cancelled by {machine_user()}"):
                raise uploads.Conflict(f"run {run.pk} has {get_run(run.pk).state} already")
        self.stdout.write(f"run {run.pk} was cancelled")
        return None

    def _list(self, options: _Options) -> None:
        state, model, limit = options["state"], options["model"], options["limit"]
        if not 1 <= limit <= _MOST:
            raise InvalidRequest(f"--limit: expected at least 1 and at most {_MOST}, got {limit}")
        found = Run.objects.select_related("model", "plan").order_by("-created_at")
        if state:
            found = found.filter(state=state)
        if model:
            found = found.filter(model=registry.get_model(model))
        rows = RunSerializer(found[:limit], many=True).data
        if options["json"]:
            write_json(self.stdout, rows)
        else:
            write_table(self.stdout, rows, _COLUMNS, "there are no such runs")
