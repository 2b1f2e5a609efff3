"""manage.py compare: how a model fares in each browser and backend."""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Final, TypedDict

from tqdm import tqdm

from browsers import locations
from inference.catalog import registry
from inference.comparisons import asking, junit, page, report
from inference.comparisons.asking import Asked
from inference.core.comparisons.cells import BAD, CellState, failing
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.graph.atomic import atomic_write
from inference.management.cli import TypedCommand
from inference.management.places import check_place
from inference.models import Comparison, ComparisonState
from inference.runs.inputs import from_file
from webpool_site.telling import units

_LOOK_EVERY_S: Final = 0.2
_SAY_EVERY_S: Final = 5.0
_STANDS_AFTER_S: Final = 10.0
_INTERRUPTED: Final = 130
_FILES: Final = ("html", "json", "junit")
_SLOWER: Final = "slower"


class _Options(TypedDict):
    model: str | None
    browsers: str
    backends: str
    strategies: str
    rows: str | None
    runs: int | str
    seed: str | None
    input: Path | None
    known_answer: bool
    strict: bool
    fail_on: str
    show: str | None
    html: Path | None
    json: Path | None
    junit: Path | None


class Command(TypedCommand[_Options]):
    help = (
        "Compare a registered model over browsers and backends: time, load, memory, difference from "
        "onnxruntime. The pool goes on when this command is killed (--show follows it again); Ctrl-C "
        "cancels. Exit code 1: a cell is wrong or failed that was right before, or is in a state of "
        "--fail-on, of which `slower` is one: it takes longer than before."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", nargs="?")
        parser.add_argument(
            "--browsers", default="", help="ids, kinds or families; left out: one of each version"
        )
        parser.add_argument(
            "--backends", default="", help=f"of {','.join(asking.BACKENDS)}; left out: all"
        )
        parser.add_argument(
            "--strategies",
            default="",
            help="such as none,layer:2: one browser computes all shards; left out: the model as it is",
        )
        parser.add_argument("--rows", help="size of the batch of random inputs")
        parser.add_argument(
            "--runs", default=asking.USUAL_RUNS, help="measured runs of each cell; usually 20"
        )
        parser.add_argument("--seed", help="of random inputs and the order of runs")
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--input", type=Path, metavar="FILE", help=".npz or .json")
        source.add_argument("--known-answer", action="store_true", help="ask what is known of it")
        parser.add_argument("--strict", action="store_true", help="no node on another provider")
        parser.add_argument("--fail-on", default="", help="states, such as wrong,failed,slower")
        parser.add_argument("--show", metavar="ID", help="follow and tell an earlier comparison")
        for kind in _FILES:
            parser.add_argument(f"--{kind}", type=Path, metavar="FILE")

    def carry_out(self, options: _Options) -> None:
        fail_on, on_slower = _states(options["fail_on"])
        files = {"html": options["html"], "json": options["json"], "junit": options["junit"]}
        for kind, path in files.items():
            check_place(f"--{kind}", path)
        comparison = self._comparison(options)
        try:
            self._follow(comparison)
        except KeyboardInterrupt:
            with self.acting("cancel", f"comparison {comparison.pk}"):
                asking.cancel(comparison)
            self._say("cancelled")
            sys.exit(_INTERRUPTED)
        document = report.document(comparison)
        for kind, written in _written(document).items():
            if path := files[kind]:
                with atomic_write(path) as file:
                    file.write(written)
        self._tell(document)
        states = [CellState(cell["state"]) for cell in document["cells"]]
        asked = bool(options["fail_on"])
        bad = failing(states, fail_on) if asked else bool(document["worse"])
        slower = on_slower and bool(document["slower"])
        if bad or slower or comparison.state != ComparisonState.FINISHED:
            sys.exit(1)

    def _comparison(self, options: _Options) -> Comparison:
        name, show, path = options["model"], options["show"], options["input"]
        if show and not name:
            return asking.get(show)
        if not name or show:
            raise InvalidRequest("expected either MODEL or --show ID")
        prepared = None
        if path:
            model = registry.get_model(name)
            prepared = from_file(model, path)
        # As they were written: `create` reads them as every door's.
        written: JsonObject = {
            "browsers": options["browsers"],
            "backends": options["backends"],
            "strategies": options["strategies"],
            "rows": options["rows"],
            "runs": options["runs"],
            "seed": options["seed"],
        }
        comparison = asking.create(
            Asked(
                model=name,
                **written,
                inputs=prepared.tensors if prepared else None,
                filled_in=tuple(prepared.filled_in) if prepared else (),
                source=path.name if path else "",
                known_answer=options["known_answer"],
                strict=options["strict"],
                owner="command line",
            )
        )
        self._say(
            f"comparison {comparison.pk}: {comparison.cells.count()} cells, seed {comparison.seed}; it goes "
            "on if this command is killed, Ctrl-C cancels it"
        )
        return comparison

    def _follow(self, comparison: Comparison) -> None:
        """Wait until the comparison has ended, showing how far it is."""
        terminal = sys.stderr.isatty()
        columns, lines = shutil.get_terminal_size()
        moved_at = said_at = time.monotonic()
        turn: tuple[int, object] = (-1, None)
        said = ""
        with tqdm(unit="run", disable=not terminal, ncols=columns, nrows=lines) as bar:
            while True:
                comparison.refresh_from_db()
                done, left = progress(comparison)
                bar.total, bar.n = done + left, done
                if (now := (comparison.turn, comparison.turn_run_id)) != turn:
                    turn, moved_at = now, time.monotonic()
                note = comparison.note
                if not note and time.monotonic() - moved_at > _STANDS_AFTER_S:
                    note = _standing(comparison)
                bar.set_postfix_str(note)
                if not terminal and (note != said or time.monotonic() - said_at > _SAY_EVERY_S):
                    said, said_at = note, time.monotonic()
                    self._say(f"{done} of {done + left} runs" + (f"; {note}" if note else ""))
                if comparison.state != ComparisonState.RUNNING:
                    return
                time.sleep(_LOOK_EVERY_S)

    def _tell(self, document: JsonView) -> None:
        self.stdout.write(
            f"{document['model']}: {document['state']}, {document['runs_done']} runs, inputs "
            f"{document['asked']['inputs']}, seed {document['seed']}, reference onnxruntime "
            f"{document['reference']['onnxruntime']}"
        )
        for cell in document["cells"]:
            self.stdout.write("  " + line_of(cell))
        self.stdout.write(f"{document['summary']}.")
        for sentence in document["said"]:
            self.stdout.write(sentence)
        for sentence in document["worsened"]:
            self.stdout.write(f"Worse than before: {sentence}")
        self.stdout.write(f"comparison {document['id']}")

    def _say(self, text: str) -> None:
        """For people: stdout is the answer's."""
        self.stderr.write(text, lambda plain: plain)


def line_of(cell: JsonView) -> str:
    """One cell in one line."""
    head = f"{cell['name']:<22} {cell['version']:<15} {cell['state']:<10}"
    if cell["median_ms"] is None:
        operator = f"operator {cell['operator']}: " if cell["operator"] else ""
        return f"{head} {operator}{report.first_line(cell['reason'])}".rstrip()
    nodes = ", ".join(f"{count} {name}" for name, count in cell["nodes"].items())
    return (
        f"{head} median {report.interval(cell['median_ms'])}, "
        f"p95 {units.milliseconds(cell['p95_ms']['value'])}, "
        f"first {units.milliseconds(cell['first_ms'])}, load {units.milliseconds(cell['load_ms'])}, "
        f"{units.megabytes(cell['memory_mb'])}, off by {units.number(cell['largest_difference'])}, {nodes}"
        f"{_shards(cell)}"
    )


def _shards(cell: JsonView) -> str:
    """Where there are several: what each takes."""
    if len(cell["shards"]) < 2:
        return ""
    return "; " + ", ".join(
        f"{shard['name']} {units.milliseconds(shard['median_ms'])}" for shard in cell["shards"]
    )


def _standing(comparison: Comparison) -> str:
    """What a comparison is at that has not moved for a while."""
    if comparison.turn_run_id is not None and comparison.turn_cell is not None:
        return f"{comparison.turn_cell} loads or computes"
    return f"nothing moves; is the pool running ({locations.UP})?"


def progress(comparison: Comparison) -> tuple[int, int]:
    """Runs that succeeded, and how many are left at least."""
    done = left = 0
    for state, turns in comparison.cells.values_list("state", "turns"):
        done += turns
        if state in (CellState.WAITING, CellState.MEASURING):
            left += max(comparison.runs + 1 - turns, 0)
    return done, left


def _written(document: JsonObject) -> dict[str, bytes]:
    return {
        "html": page.standalone(document).encode(),
        "json": (json.dumps(document, indent=2) + "\n").encode(),
        "junit": junit.render(document),
    }


def _states(text: str) -> tuple[frozenset[CellState], bool]:
    """States of cells, and whether `slower` is asked for, too.

    Raises:
        InvalidRequest: a word that is neither.
    """
    names = {part.strip() for part in text.split(",") if part.strip()}
    ends = (*BAD, CellState.UNTRIED, CellState.NOT_JUDGED)
    if unknown := sorted(names.difference(ends, {_SLOWER})):
        raise InvalidRequest(
            f"--fail-on: expected of {', '.join(sorted((*ends, _SLOWER)))}, got {unknown[0]!r:.100}"
        )
    return frozenset(map(CellState, names - {_SLOWER})), _SLOWER in names
