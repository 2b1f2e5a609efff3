"""manage.py import_history FILE: samples that another history exported."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from tqdm import tqdm

from history import transfer
from history.acting import acting
from history.management.cli import HistoryCommand
from history.recompute import recompute
from webpool_site.telling.arguments import name_of


class Command(HistoryCommand):
    help = "Add the samples of a file, all of them or, when one cannot be right, none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=transfer.FORMATS)

    def handle(self, *_: Any, **options: Any) -> None:
        with acting("import", f"history {name_of(options['file'])}") as said:
            with tqdm(unit=" rows", disable=None, leave=False) as bar:
                added = transfer.import_file(
                    options["file"], file_format=options["format"], progress=bar.update
                )
            said.detail = f"{added} samples were new"
        done = recompute()
        self.stdout.write(
            f"{added} samples were new; recomputed: {done.recommendations} recommendations from "
            f"{done.samples} samples"
        )
