"""Answers that are computed twice: because they are odd, or because the caller wants them compared.

1. A float output of the model that is not finite or all zero is computed again in another browser, where
   there is one. When both agree, that is the answer, and this file is not doubted for it again.
2. With `Redundancy.COMPARE`, every shard is computed in two browsers; there must be two.
3. Two answers of wasm must have the same bits: it has the same in every browser. Of others the floats may
   differ within the file's tolerance.
4. An answer that the store has lost meanwhile counts as never given.
5. Who answered otherwise than two others, or than one that is not odd, has an incident, and its breaker for
   that file hears of it; so does an odd copy, early or late, that a sound one has overtaken
   (`Redundancy.FIRST`). Three answers that all differ fail the run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from browsers.core.answers.agreement import disagreement, same_bits
from browsers.core.failures import Category
from browsers.models import Incident
from browsers.state import breakers
from inference.catalog import known_answers
from inference.core.verification import Next, judge, suspicion
from inference.ledger import results
from inference.ledger.attempts import AttemptFacts
from inference.ledger.claims import copies, has_copies, others
from inference.models import Outcome, PlanStep, Redundancy, RunStep, StepState
from inference.store import tensors
from inference.store.doubts import Doubt, KeptAnswer, doubt_of
from inference.store.tensors import TensorRef, WireTensor, decode_array

log = logging.getLogger(__name__)
_AS_ASKED = "computed twice, as asked"


def settle(
    shard: RunStep,
    outputs: Sequence[WireTensor],
    refs: Sequence[TensorRef],
    odd: Sequence[str],
    facts: AttemptFacts,
    glance: results.Glance,
) -> None:
    """Record a computed shard, or have it computed once more elsewhere; `odd`: its `oddities`."""
    named = {tensor.name: ref for tensor, ref in zip(outputs, refs, strict=True)}
    earlier = doubt_of(shard)
    if earlier and earlier.answers:
        _confirm(shard, earlier, outputs, named, odd, facts, glance)
        return
    doubt = _doubt(shard, odd)
    asked = None
    if doubt is not None:
        must = doubt.compared or others(shard).exists()  # its other copy may know better
        asked = results.ask_another(shard, named, doubt, facts, must=must)
    if asked is None and results.record_success(shard, named, facts, glance):
        _blame_copies(shard, outputs, facts.backend)
    elif doubt is not None and asked is Outcome.SUPERSEDED:
        _blame_late(shard, outputs, doubt.why)


def _doubt(shard: RunStep, odd: Sequence[str]) -> Doubt | None:
    if shard.run.redundancy == Redundancy.COMPARE:
        return Doubt(_AS_ASKED, compared=True)
    return Doubt("; ".join(odd), compared=False) if odd else None


def _confirm(
    shard: RunStep,
    doubt: Doubt,
    outputs: Sequence[WireTensor],
    named: Mapping[str, TensorRef],
    odd: Sequence[str],
    facts: AttemptFacts,
    glance: results.Glance,
) -> None:
    """Compare an answer with the earlier ones: take it, ask one more browser, or fail the run."""
    why, backend = doubt.why, facts.backend
    found = [(answer, _agrees(shard, answer, outputs, backend)) for answer in doubt.answers]
    answers = tuple(answer for answer, same in found if same is not None)
    agrees = [same for _, same in found if same is not None]
    doubt = replace(doubt, answers=answers)
    overrules = backend == "wasm" or all(answer.backend != "wasm" for answer in answers)
    asked_as_odd = not doubt.compared
    verdict = judge(agrees, odd=bool(odd), asked_as_odd=asked_as_odd, overrules=overrules)
    if verdict.next is Next.ASK:
        results.ask_another(shard, named, doubt, facts, must=True)
        return
    if verdict.next is Next.FAIL:
        browsers = ", ".join([*(answer.browser for answer in answers), shard.browser])
        results.fail_run(
            shard,
            Category.INTERNAL,
            f"{browsers} answered differently, and nobody decides ({why})",
            facts,
        )
        results.drop_answers(named.values())
        return
    if results.record_success(shard, named, facts, glance):
        for at in verdict.wrong:
            _blame(shard, answers[at].browser, shard.browser, why)
        if odd and not verdict.wrong:
            _remember(shard.plan_step, odd)
        results.drop_answers(doubt.refs)
        _blame_copies(shard, outputs, backend)


def _blame_copies(shard: RunStep, outputs: Sequence[WireTensor], backend: str) -> None:
    """Hold the answers that were kept of the shard's copies against the one that counts."""
    if not has_copies(shard):
        return
    for other in copies(shard).filter(doubt__isnull=False):
        doubt = doubt_of(other)
        if doubt is None:
            continue
        for answer in doubt.answers:
            if _agrees(shard, answer, outputs, backend) is False:
                _blame(shard, answer.browser, shard.browser, doubt.why)
        results.drop_answers(doubt.refs)


def _blame_late(shard: RunStep, outputs: Sequence[WireTensor], why: str) -> None:
    """Hold an odd answer that comes too late against the one that counts, as far as that is still known."""
    first = copies(shard).filter(state=StepState.DONE).first()
    if first is None:
        return
    counts = KeptAnswer(first.browser, "", tensors.refs_of(first.outputs))
    if _agrees(shard, counts, outputs, "") is False:
        _blame(shard, shard.browser, first.browser, why)


def oddities(shard: RunStep, outputs: Sequence[WireTensor]) -> list[str]:
    """What is odd about those outputs that are the model's, and that two browsers have not agreed on yet."""
    ours = {port.name for port in shard.run.model.output_ports}
    tensor_of = shard.plan_step.tensor_of
    found = [
        f"{tensor_of[tensor.name]} is {what}"
        for tensor in outputs
        if tensor_of[tensor.name] in ours and (what := suspicion(decode_array(tensor)))
    ]
    step = shard.plan_step
    if set(found) - set(step.usual):  # another process may have learned it meanwhile
        step.usual = PlanStep.objects.values_list("usual", flat=True).get(pk=step.pk)
    return [what for what in found if what not in step.usual]


def _agrees(
    shard: RunStep, earlier: KeptAnswer, outputs: Sequence[WireTensor], backend: str
) -> bool | None:
    """Whether an earlier answer is the same; None where the store has lost it: it says nothing any more.

    `backend` is the one of `outputs`, `earlier` says its own where it is known.
    """
    names = [tensor.name for tensor in outputs]
    tensor_of = shard.plan_step.tensor_of
    try:
        kept = tensors.fetch([(name, earlier.outputs[tensor_of[name]]) for name in names])
    except tensors.TensorLost:
        return None
    if earlier.backend == backend == "wasm":
        return same_bits(outputs, kept)
    tolerance = known_answers.known(shard.plan_step.sha256).tolerance
    return not disagreement(outputs, kept, tolerance=tolerance)


def _blame(shard: RunStep, wrong: str, right: str, why: str) -> None:
    message = f"run {shard}: {wrong} answered otherwise than {right} ({why})"
    log.error("%s", message)
    breakers.failed(wrong, Category.WRONG_ANSWER, sha256=shard.plan_step.sha256)
    Incident.objects.create(browser_id=wrong, category=Category.WRONG_ANSWER, message=message)


def _remember(step: PlanStep, odd: Sequence[str]) -> None:
    step.usual = sorted({*step.usual, *odd})
    PlanStep.objects.filter(pk=step.pk).update(usual=step.usual)
