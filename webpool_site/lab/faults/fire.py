"""What a fire left: the callers' tale, the ledger's, and whether both are as they must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from browsers.core.failures import Category
from history import recording
from history.models import HistoryState
from inference.errors import RunFailed
from inference.models import Attempt, Outcome, Run
from inference.store import outbox
from webpool_site.lab.faults.chaos import Strike
from webpool_site.lab.faults.load import OWNER, Load
from webpool_site.lab.faults.phases import Lengths, Worked, covered
from webpool_site.lab.faults.proof import prove
from webpool_site.lab.faults.targets import Target
from webpool_site.lab.faults.texts import writers
from webpool_site.lab.faults.texts.writers import Writers


def verdict(load: Load, texts: Writers, strikes: Sequence[Strike]) -> dict[str, Any]:
    """Ask the callers, then the ledger; every run of the pool counts, whoever asked."""
    everything = dict(Run.objects.values_list("pk", "owner"))
    proof = prove(everything)
    ours = {pk for pk, owner in everything.items() if owner == OWNER}
    struck = Counter(strike.target for strike in strikes)
    lost_in_store = _lost_in_store(load.failed) if struck[Target.VALKEY] else {}
    return {
        "strikes": len(strikes),
        "struck": dict(struck),
        "stopped": sum(strike.stopped for strike in strikes),
        "asked": len(load.asked),
        "answered": len(load.answered),
        "http_answered": load.http_answered,
        "http_asked_again": load.asked_again,
        "wrong": load.wrong,
        "failed": _said({run: why for run, why in load.failed.items() if run not in lost_in_store}),
        "lost_in_store": _said(lost_in_store),
        "refused": dict(load.refused),
        "unexpected": load.unexpected,
        "unknown_to_callers": sorted(str(pk) for pk in ours - load.asked),
        "unknown_to_ledger": sorted(str(pk) for pk in load.asked - ours),
        "proof": {**asdict(proof), "holds": proof.holds},
        "phases": covered(strikes, _worked()),
        "texts": texts.verdict(),
    }


def _lost_in_store(failed: Mapping[str, RunFailed]) -> dict[str, RunFailed]:
    """Runs whose tensors a killed Valkey had not written yet: counted apart."""
    return {run: why for run, why in failed.items() if why.category == Category.TENSOR_LOST}


def _said(failed: Mapping[str, RunFailed]) -> dict[str, str]:
    return {run: f"{why.category}: {why}" for run, why in failed.items()}


def kept_by_history() -> dict[str, int]:
    """How many attempts the ledger has, and how many of them history lacks once all were handed over.

    For when the pool is gone: its history worker writes as long as it lives.
    """
    outbox.hand_over()
    ledger = set(Attempt.objects.values_list("pk", flat=True))
    state = HistoryState.objects.current()
    source = recording.source_of(state.ledger, recording.ATTEMPTS)
    with recording.open_store() as store:
        kept = [row["source_id"] for row in store.rows("keys", source=source)]
    return {
        "attempts": len(ledger),
        "missing": len(ledger - set(kept)),
        "doubled": len(kept) - len(set(kept)),
    }


def _worked() -> list[Worked]:
    fields = (
        "browser", "shard__plan_step__sha256", "started_at", "finished_at", "outcome",
        "load_ms", "transfer_ms", "compute_ms",
    )  # fmt: skip
    return [
        Worked(
            browser,
            sha256,
            began.timestamp(),
            ended.timestamp(),
            Lengths(load or 0.0, transfer or 0.0, compute or 0.0)
            if outcome == Outcome.SUCCEEDED
            else None,
        )
        for browser, sha256, began, ended, outcome, load, transfer, compute in (
            Attempt.objects.values_list(*fields)
        )
    ]


def violations(report: Mapping[str, Any]) -> list[str]:
    """What should not be: empty when nothing was lost, doubled, wrong, failed or left."""
    proof = report["proof"]
    wrongs = {
        "lost": proof["lost"] or report["unknown_to_ledger"],
        "doubled": proof["doubled"],
        "written down, although its caller was told of an error": report["unknown_to_callers"],
        "wrong": report["wrong"] or proof["unproved"],
        "failed": report["failed"],
        "never told to a caller": not report["all_ended_in_time"],
        "errors that no caller should see": report["unexpected"],
        "orphans": report["orphans"],
        "shards left open": proof["open_shards"],
        "attempts that history lacks": report["history"]["missing"],
        "attempts that history has twice": report["history"]["doubled"],
        "not whole again": report["whole_again_s"] is None,
        **writers.violations(report["texts"]),
    }
    return [f"{name}: {what}" for name, what in wrongs.items() if what]


def sentence(report: Mapping[str, Any]) -> list[str]:
    """The outcome for a person."""
    proof = report["proof"]
    lines = [
        f"{report['strikes']} strikes ({report['stopped']} of them SIGSTOP): "
        + ", ".join(f"{n} {target}" for target, n in sorted(report["struck"].items())),
        (
            f"{report['answered']} of {report['asked']} requests answered right, "
            f"{report['http_answered']} more over HTTP ("
            f"{report['http_asked_again']} asked again after a broken connection)"
        ),
        f"lost {len(proof['lost'])}, doubled {len(proof['doubled'])}, wrong {len(report['wrong'])}, failed "
        f"{len(report['failed'])}, orphans {len(report['orphans'])}; failed because a killed Valkey had not "
        f"written their tensors yet {len(report['lost_in_store'])}; attempts "
        + ", ".join(f"{n} {outcome}" for outcome, n in sorted(proof["attempts"].items())),
        (
            f"refused and asked again: {report['refused'] or 'none'}; whole again after "
            f"{report['whole_again_s']} s; seed {report['seed']}"
        ),
    ]
    lines.append(writers.sentence(report["texts"]))
    history = report["history"]
    lines.append(
        f"history: {history['missing']} of {history['attempts']} attempts missing, "
        f"{history['doubled']} doubled"
    )
    phases: Counter[str] = Counter()
    for counted in report["phases"].values():
        phases.update(counted)
    lines.append("attempts struck while: " + ", ".join(f"{p} {n}" for p, n in phases.most_common()))
    return lines
