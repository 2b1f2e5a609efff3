"""manage.py export_history FILE: samples as JSON, CSV or Parquet."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from tqdm import tqdm

from history import transfer
from history.management.cli import HistoryCommand, add_filters, filters


class Command(HistoryCommand):
    help = "Write samples into a file, whose name ends with json, csv or parquet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=transfer.FORMATS)
        add_filters(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        with tqdm(total=100, unit="%", disable=None, leave=False) as bar:
            count = transfer.export(
                options["file"],
                file_format=options["format"],
                progress=lambda percent: bar.update(percent - bar.n),
                **filters(options, "browser", "model_type", "model_name", "days"),
            )
        self.stdout.write(f"{count} samples in {options['file']}")
