"""manage.py models: list the registered models, show one, or remove it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TypedDict

from browsers import locations
from inference.catalog import registry, uploads
from inference.errors import InvalidRequest
from inference.management.cli import TypedCommand
from inference.management.listing import write_table
from inference.models import OnnxModel
from inference.wire.serializers.models import ModelDetailSerializer, ModelSerializer
from webpool_site.telling.documents import write_json

_COLUMNS = ("name", "model_type", "file_bytes", "node_count", "max_shards", "created_at")


class _Options(TypedDict):
    name: str | None
    remove: bool
    json: bool


class Command(TypedCommand[_Options]):
    help = "List the registered models; with a name, show that one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="show this model, as JSON")
        parser.add_argument(
            "--remove", action="store_true", help="remove it with its plans, runs and files"
        )
        parser.add_argument("--json", action="store_true", help="as GET /api/models/")

    def carry_out(self, options: _Options) -> None:
        if not options["name"]:
            if options["remove"]:
                raise InvalidRequest("--remove: expected the name of a model before it")
            return self._list(as_json=options["json"])
        model = registry.get_model(options["name"])
        if not options["remove"]:
            return write_json(self.stdout, ModelDetailSerializer(model).data)
        with self.acting("delete", f"model {model.name}") as said:
            said.detail = model.sha256
            uploads.remove_model(model)
        self.stdout.write(f"{model.name} was removed")
        return None

    def _list(self, *, as_json: bool) -> None:
        rows = ModelSerializer(OnnxModel.objects.order_by("name"), many=True).data
        if as_json:
            write_json(self.stdout, rows)
        else:
            none = f"no model is registered; `{locations.PROGRAM} add_model FILE` registers one"
            write_table(self.stdout, rows, _COLUMNS, none)
