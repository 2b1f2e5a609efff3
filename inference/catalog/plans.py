"""Plans: a model cut in one way, cut once and remembered; its files are immutable."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError

from inference import sandbox
from inference.catalog import known_answers, registry
from inference.catalog.component_plan import check_strategy, component_steps
from inference.catalog.data_parallel import check_parallel, copies
from inference.catalog.decoder_plan import decoder_steps, whole_stage
from inference.core.tenants import is_counted
from inference.documents import JsonObject
from inference.errors import Busy, InvalidRequest, Unavailable
from inference.models import OnnxModel, Plan, PlanStep, Strategy
from inference.store import transactions
from inference.store.files import keep, made_files, path_of
from inference.store.once import Once

# Strategies by which a plan can be made; `auto` chooses one of them.
CUTS = tuple(value for value in Strategy.values if value != Strategy.AUTO)
# Of these the graph, or the manifest, says how many shards there are.
FIXED_BY_GRAPH = (Strategy.ATTENTION_FEEDFORWARD, Strategy.COMPONENT)
_WHOLE_ALONE = (Strategy.LAYER, Strategy.TENSOR)
# These use the model's own files as they are.
_NO_FILES = (Strategy.NONE, Strategy.DATA, Strategy.COMPONENT)
_COME_BACK_S = 3600.0
_Way = tuple[int, str, int | None, int, bool]
_KNOWN: dict[_Way, tuple[Plan, tuple[PlanStep, ...]]] = {}
_CUTTING = Once[tuple[int, str, int | None, int]]()
_MOST_KNOWN = 256


def ensure_plan(
    model: OnnxModel,
    strategy: str,
    num_shards: int | None,
    data_parallel: int = 1,
    *,
    allow_unproved_split: bool = False,
    tenant: str = "",
) -> Plan:
    """The plan for this strategy and number of shards, cut now if it never was.

    `num_shards` None: what the graph makes, where the strategy leaves no choice, else 1. `data_parallel`:
    over how many copies of the cut model a batch is split; `allow_unproved_split`: even where it is not
    proved that its rows are computed each for itself. `tenant`: who has it cut, on request or by a run.

    Raises:
        InvalidRequest: an unknown strategy, one that the graph does not allow, or a number of shards
            that it does not allow (names those it does).
        Busy: it would have to be cut, and the tenant has as many as one may have.
    """
    if strategy not in CUTS:
        raise InvalidRequest(f"strategy {strategy!r}: expected one of {', '.join(CUTS)}")
    if num_shards is not None and num_shards < 1:
        raise InvalidRequest(f"shards: expected at least 1, got {num_shards}")
    check_size((num_shards or 1) * data_parallel)
    if num_shards is None and strategy not in FIXED_BY_GRAPH:
        num_shards = 1
    check_parallel(model, strategy, data_parallel, allow_unproved=allow_unproved_split)
    wanted: JsonObject = {
        "model": model,
        "model_sha256": model.sha256,
        "strategy": strategy,
        "data_parallel": data_parallel,
    }
    if num_shards is not None:
        wanted["num_shards"] = num_shards
    plan = Plan.objects.filter(**wanted).first()
    if plan is not None:
        return plan
    # A burst of requests for a new model is one cut, and takes one place of the sandbox.
    with _CUTTING.alone((model.pk, strategy, num_shards, data_parallel)):
        return Plan.objects.filter(**wanted).first() or _made(wanted, num_shards, tenant)


def _made(wanted: JsonObject, num_shards: int | None, tenant: str) -> Plan:
    """The plan, cut now. Raises as `ensure_plan`."""
    model, strategy, copies_of_it = (
        wanted[name] for name in ("model", "strategy", "data_parallel")
    )
    _admit(tenant, strategy)
    steps = _cut(model, strategy, num_shards)
    wanted["num_shards"] = num_shards or len(steps)
    if strategy == Strategy.DATA:
        steps = copies(model, steps, num_shards or 1)
    elif copies_of_it > 1:
        steps = copies(model, steps, copies_of_it)
    known_answers.make(steps)
    try:
        plan = _insert(Plan(**wanted, tenant=tenant), steps)
        plan.is_new = True
    except IntegrityError:  # somebody else cut it meanwhile: the same plan
        return Plan.objects.get(**wanted)
    return plan


@transactions.repeated
def _insert(wanted: Plan, cut: Sequence[PlanStep]) -> Plan:
    """Many requests at once may have found room for the last plan of an owner."""
    plan, steps = copy.copy(wanted), [copy.copy(step) for step in cut]
    with transactions.alone(registry.FILES):
        _admit(plan.tenant, plan.strategy)
        _check_files(steps)
        plan.save(force_insert=True)
        for step in steps:
            step.plan = plan
        PlanStep.objects.bulk_create(steps)
    return plan


def check_size(steps: int) -> None:
    """Refuse a plan, or a run, of more shards than one may have, before anything is cut for it.

    Raises:
        InvalidRequest.
    """
    if steps > settings.WEBPOOL_MAX_SHARDS_PER_RUN:
        raise InvalidRequest(
            f"these would be {steps} shards, expected at most {settings.WEBPOOL_MAX_SHARDS_PER_RUN} "
            "(WEBPOOL_MAX_SHARDS_PER_RUN); ask for fewer shards or copies"
        )


def _admit(tenant: str, strategy: str) -> None:
    """Plans that make files take the disk of all."""
    if strategy in _NO_FILES or not is_counted(tenant):
        return
    made = Plan.objects.filter(tenant=tenant).exclude(strategy__in=_NO_FILES).count()
    if made >= settings.WEBPOOL_MAX_PLANS_PER_OWNER:
        raise Busy(
            f"{made} plans were cut for {tenant}, the limit for one owner is "
            f"{settings.WEBPOOL_MAX_PLANS_PER_OWNER} (WEBPOOL_MAX_PLANS_PER_OWNER); use one of them, or "
            f"wait: those without runs are forgotten after {settings.WEBPOOL_RUN_RETENTION_DAYS:g} days",
            retry_after_s=_COME_BACK_S,
        )


def _check_files(steps: Sequence[PlanStep]) -> None:
    """With the files' lock: none of them was deleted, with another plan, since it was found to be there."""
    gone = [step.sha256 for step in steps if step.sha256 and not path_of(step.sha256).exists()]
    if gone:
        raise Unavailable(f"file {gone[0][:12]}… was deleted while it was planned with; ask again")


def asked_plan(
    model: OnnxModel,
    strategy: str = "",
    shards: int | None = None,
    data_parallel: int = 1,
    *,
    allow_unproved_split: bool = False,
    tenant: str = "",
) -> Plan:
    """`ensure_plan` for who asks for a plan alone: what is left out is chosen as usual.

    Raises:
        InvalidRequest: as `ensure_plan`.
    """
    strategy = strategy or (Strategy.COMPONENT if model.components else Strategy.LAYER)
    return ensure_plan(
        model,
        strategy,
        usual_shards(strategy, shards),
        data_parallel,
        allow_unproved_split=allow_unproved_split,
        tenant=tenant,
    )


def usual_shards(strategy: str, asked: int | None) -> int | None:
    """How many shards a plan has when nobody says: two, unless the graph decides."""
    if asked is None and strategy not in FIXED_BY_GRAPH:
        return 1 if strategy == Strategy.NONE else 2
    return asked


def steps_of(plan: Plan) -> list[PlanStep]:
    return list(plan.shards.all())


def cached_plan(
    model: OnnxModel,
    strategy: str,
    num_shards: int | None,
    data_parallel: int = 1,
    *,
    allow_unproved_split: bool = False,
    tenant: str = "",
) -> tuple[Plan, tuple[PlanStep, ...]]:
    """A model's plan and steps, remembered by this process: plans never change.

    Raises:
        InvalidRequest, Busy: as `ensure_plan`.
    """
    way = (model.pk, strategy, num_shards, data_parallel, allow_unproved_split)
    known = _KNOWN.get(way)
    if known is None:
        plan = ensure_plan(
            OnnxModel.objects.get(pk=model.pk),
            strategy,
            num_shards,
            data_parallel,
            allow_unproved_split=allow_unproved_split,
            tenant=tenant,
        )
        known = plan, tuple(steps_of(plan))
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[way] = known
    return known


def clear_cache() -> None:
    """Look again what names stand for: a model or a plan may have been deleted and made anew."""
    registry.cached_model.cache_clear()
    _KNOWN.clear()


def _cut(model: OnnxModel, strategy: str, num_shards: int | None) -> list[PlanStep]:
    check_strategy(model, strategy, num_shards)
    if strategy == Strategy.COMPONENT:
        return component_steps(model)
    whole = strategy in (Strategy.NONE, Strategy.DATA)
    if whole or (strategy in _WHOLE_ALONE and num_shards == 1):
        return [whole_stage(model)]
    if strategy == Strategy.DECODER:
        return decoder_steps(model, num_shards or 1)
    path = path_of(model.sha256)
    with made_files() as folder:
        try:
            rows = sandbox.ask(
                "cut",
                reads=[path],
                writes=folder,
                path=str(path),
                strategy=strategy,
                shards=num_shards,
                folder=str(folder),
            ).document
            steps = [PlanStep(**row) for row in rows]
            for sha256 in {step.sha256 for step in steps} - {""}:
                keep(folder / Path(sha256).name, sha256)
        except ValueError as error:
            raise InvalidRequest(f"model {model.name}: {error}") from error
    return steps
