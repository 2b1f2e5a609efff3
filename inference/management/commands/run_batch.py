"""manage.py run_batch: a file of inputs through a model, as a job that outlives this command."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypedDict

from tqdm import tqdm

from browsers import locations
from inference.batches import jobs, report, results
from inference.batches.options import JOB_OPTIONS
from inference.batches.readers import format_of
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.management.cli import TypedCommand
from inference.management.options import add_options, written
from inference.management.places import check_place
from inference.models import Entrance
from inference.models.batches import BatchJob, BatchState, JobState
from inference.runs.options import OPTIONS, Door
from inference.store import audit

_OPTIONS = (*JOB_OPTIONS, *OPTIONS)
_LOOK_EVERY_S = 0.2
_SAY_EVERY_S = 5.0
_INTERRUPTED = 130
_STANDS_AFTER_S = 10.0
_STANDS = f"nothing is being sent; is the pool running ({locations.UP})?"


class _Options(TypedDict):
    model: str | None
    input: Path | None
    output: Path | None
    resume: str | None
    retry_failed: bool
    json: bool


class Command(TypedCommand[_Options]):
    help = (
        "Run a registered model over a file of inputs. The pool computes the job: it goes on when this "
        "command is killed, and the same command (or --resume) follows it again. Ctrl-C cancels it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", nargs="?")
        parser.add_argument("--input", type=Path, metavar="FILE", help=".jsonl, .npz or .parquet")
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="default: FILE.out.* beside the input"
        )
        add_options(parser, Door.JOBS, _OPTIONS)
        parser.add_argument("--resume", metavar="JOB", help="go on with a job")
        parser.add_argument("--retry-failed", action="store_true", help="its failed batches too")
        parser.add_argument("--json", action="store_true")

    def carry_out(self, options: _Options) -> None:
        if options["output"]:
            format_of(options["output"])  # refused before anything runs
            check_place("--output", options["output"], options["input"])
        job = _resumed(options["resume"], options) if options["resume"] else self._created(options)
        output = options["output"] or _beside(job, options["input"])
        before = report.progress(job).items[BatchState.DONE]
        began = time.monotonic()
        try:
            self._follow(job)
        except KeyboardInterrupt:
            self._cancelled(job)
        seconds = time.monotonic() - began
        results.write_output(job, output, format_of(output))
        summary = _summary(job, output, done_before=before, seconds=seconds)
        self._tell(job, summary, as_json=options["json"])
        if job.state != JobState.FINISHED:
            sys.exit(1)

    def _created(self, options: _Options) -> BatchJob:
        if not options["model"] or not options["input"]:
            raise InvalidRequest("expected MODEL and --input FILE, or --resume JOB")
        job, new = jobs.create_job(request_of(options))
        self._say(
            f"job {job.pk}: {job.item_count} items in {job.batch_count} batches of at most {job.batch_size}; "
            "it goes on if this command is killed, Ctrl-C cancels it"
        )
        if together := report.together(job).reason:
            self._say(together)
        if not new:
            resumed = jobs.resume_job(job, retry_failed=options["retry_failed"])
            what = "going on with it" if resumed or job.state == JobState.RUNNING else job.state
            self._say(
                f"this file was given before with these options: {what} (--again computes anew)"
            )
        return job

    def _follow(self, job: BatchJob) -> None:
        """Wait until the job is at rest, showing how far it is."""
        terminal = sys.stderr.isatty()
        columns, lines = (
            shutil.get_terminal_size()
        )  # tqdm draws nothing where the size is not known
        before = report.progress(job)
        with tqdm(
            total=job.item_count,
            initial=before.items_ended,
            unit="item",
            disable=not terminal,
            ncols=columns,
            nrows=lines,
        ) as bar:
            show = _bar(bar) if terminal else _Lines(self._say, job.item_count)
            moved_at = time.monotonic()
            while True:
                job.refresh_from_db()
                ended, now = job.state != JobState.RUNNING, report.progress(job)
                if now != before or now.batches[BatchState.RUNNING]:
                    before, moved_at = now, time.monotonic()
                stands = time.monotonic() - moved_at > _STANDS_AFTER_S
                show(now, job.note or (_STANDS if stands else ""))
                if ended:
                    return
                time.sleep(_LOOK_EVERY_S)

    def _cancelled(self, job: BatchJob) -> None:
        with audit.acting(Entrance.COMMAND, audit.machine_user(), "cancel", f"batch job {job.pk}"):
            jobs.cancel_job(job)
        self._say(
            f"cancelled; `{locations.PROGRAM} run_batch --resume {job.pk}` goes on with what is left"
        )
        sys.exit(_INTERRUPTED)

    def _tell(self, job: BatchJob, summary: JsonObject, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(summary, indent=2))
            return
        for failure in summary["failures"]:
            self._say(f"batch {failure['batch']}: {failure['category']}: {failure['error']}")
        rate = summary["items_per_s"]
        speed = "" if rate is None else f" ({rate:.1f} items/s)"
        self.stdout.write(
            f"{job.state}: {summary['items_done']} of {job.item_count} items, "
            f"{summary['seconds']:.1f} s{speed}; {summary['output']}"
        )
        for browser, counts in summary["browsers"].items():
            listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
            self.stdout.write(f"  {browser}: {listed}")
        if summary["failures"]:
            self._say(
                f"`{locations.PROGRAM} run_batch --resume {job.pk} --retry-failed` tries them again"
            )

    def _say(self, text: str) -> None:
        """For people: stdout is the answer's."""
        self.stderr.write(text, lambda plain: plain)


def request_of(options: JsonView) -> jobs.JobRequest:
    """Raises InvalidRequest: an option with a value that cannot be."""
    own, of_runs = jobs.divide(written(options, Door.JOBS, _OPTIONS))
    return jobs.JobRequest(
        model=options["model"],
        source=options["input"],
        source_name=str(options["input"].absolute()),
        options=of_runs,
        owner="command line",
        **own,
    )


def _resumed(job_id: str, options: _Options) -> BatchJob:
    job = jobs.get_job(job_id)
    with audit.acting(Entrance.COMMAND, audit.machine_user(), "resume", f"batch job {job.pk}"):
        jobs.resume_job(job, retry_failed=options["retry_failed"])
    return job


def _beside(job: BatchJob, source: Path | None) -> Path:
    """`in.jsonl` → `in.out.jsonl`, in the folder of the input."""
    near = source or Path(job.source_name)
    return near.with_name(f"{near.stem}.out{results.EXTENSIONS[job.source_format]}")


def _bar(bar: tqdm[NoReturn]) -> Callable[[report.Progress, str], None]:
    def show(now: report.Progress, note: str) -> None:
        bar.n = now.items_ended
        bar.set_postfix_str(note or f"{now.batches[BatchState.RUNNING]} batches in flight")

    return show


class _Lines:
    """Progress as plain lines: at the start, now and then, whenever the note changes, at the end."""

    def __init__(self, out: Callable[[str], None], total: int) -> None:
        self._out, self._total = out, total
        self._said: tuple[int, str] | None = None
        self._next_at = 0.0

    def __call__(self, now: report.Progress, note: str) -> None:
        fact = (now.items_ended, note)
        over = now.items_ended == self._total
        new_note = self._said is not None and note != self._said[1]
        if fact == self._said or not (over or new_note or time.monotonic() >= self._next_at):
            return
        self._said, self._next_at = fact, time.monotonic() + _SAY_EVERY_S
        failed = now.items[BatchState.FAILED]
        self._out(
            f"{now.items_ended} of {self._total} items"
            + (f", {failed} failed" if failed else "")
            + (f"; {note}" if note else "")
        )


def _summary(job: BatchJob, output: Path, *, done_before: int, seconds: float) -> JsonObject:
    """What the command reports; `items_per_s` is of this command's own wait, null if it had none."""
    now = report.progress(job)
    here = now.items[BatchState.DONE] - done_before
    return {
        "job": str(job.pk),
        "state": job.state,
        "model": job.model.name,
        "items": job.item_count,
        "items_done": now.items[BatchState.DONE],
        "items_failed": now.items[BatchState.FAILED],
        "batches": job.batch_count,
        "batches_done": now.batches[BatchState.DONE],
        "batches_failed": now.batches[BatchState.FAILED],
        "items_computed_now": here,
        "seconds": seconds,
        "items_per_s": here / seconds if here and seconds > 0 else None,
        "browsers": report.computed_by(job),
        "filled_in": job.filled_in,
        "together": dataclasses.asdict(report.together(job)),
        "failures": report.failures(job),
        "output": str(output),
    }
