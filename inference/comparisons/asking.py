"""What a caller asks of a comparison, and the rows that follow from it."""

from __future__ import annotations

import copy
import dataclasses
import secrets
import uuid
from collections.abc import Sequence
from typing import Final

import redis.exceptions
from django.core.exceptions import ValidationError

from browsers import clock, locations
from inference.catalog import registry
from inference.catalog.uploads import Conflict
from inference.comparisons import places, reference, storage, ways
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest, Unavailable
from inference.models import Comparison, ComparisonCell, ComparisonState, OnnxModel
from inference.runs import quotas
from inference.runs.inputs import from_python, prepare
from inference.runs.option_kinds import Kind, Names, Whole
from inference.scheduling.wishes import PLATFORMS
from inference.store import transactions
from inference.store.tensors import WireTensor

USUAL_RUNS: Final = 20
MOST_RUNS: Final = 1000
BACKENDS: Final = tuple(reversed(PLATFORMS))
"""wasm first: browsers prove the others by it."""
_MOST_CELLS: Final = 100
_NUMBERS: Final[dict[str, Kind]] = {
    "runs": Whole(1, MOST_RUNS),
    "rows": Whole(1, 65_536),
    "seed": Whole(0, 2**31 - 1),
}
_LISTS: Final[dict[str, Kind]] = {"browsers": Names(), "backends": Names(), "strategies": Names()}


_OF_A_SCHEDULE: Final = (
    "model", "browsers", "backends", "strategies", "rows", "runs", "seed", "inputs", "known_answer", "strict"
)  # fmt: skip


class UnknownComparison(InvalidRequest):
    status = 404


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a caller asks for.

    Attributes:
        model: name of a registered model.
        browsers: ids, kinds or families; empty: one of each kind and version of the pool.
        backends: of wasm, webgpu, webnn; empty: all.
        strategies: such as none, layer:2, data:2, all of whose shards one browser computes; empty: the model
            whole, or by its components.
        rows: size of the batch of random inputs; None: 8, where it is free.
        runs: measured runs of each cell.
        seed: of random inputs and of the order of runs; None: one is drawn, and told.
        inputs: what to ask; None: random ones. `source` names them, `filled_in` is what was added to them.
        known_answer: ask what is known of the model instead.
        strict: refuse a backend that left a node to another execution provider.
        owner: user or API key. `scheduled`: whether a schedule asked.
    """

    model: str
    browsers: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    rows: int | None = None
    runs: int = USUAL_RUNS
    seed: int | None = None
    inputs: Sequence[WireTensor] | None = None
    source: str = ""
    filled_in: tuple[str, ...] = ()
    known_answer: bool = False
    strict: bool = False
    owner: str = ""
    scheduled: bool = False


def of_schedule(words: JsonView) -> Asked:
    """What a schedule's keyword arguments ask for, in the words of REST; inputs are the same each time.

    Raises:
        InvalidRequest: no model, an unknown word, or inputs that the model does not take.
    """
    if unknown := sorted(set(words) - set(_OF_A_SCHEDULE)):
        raise InvalidRequest(f"unknown {unknown[0]!r:.100}; expected {', '.join(_OF_A_SCHEDULE)}")
    given: JsonObject = {"seed": 0, **words, "owner": "schedule", "scheduled": True}
    model = registry.get_model(str(given.get("model", "")))
    if (inputs := given.get("inputs")) is not None:
        if not isinstance(inputs, dict):
            raise InvalidRequest("inputs: expected an object of name → nested list")
        ready = from_python(model, inputs, json=True)
        given |= {"inputs": ready.tensors, "filled_in": tuple(ready.filled_in), "source": "given"}
    return _checked(Asked(**given))


def create(asked: Asked) -> Comparison:
    """Make the inputs, ask native onnxruntime, write the comparison down. Nothing is sent here.

    Raises:
        InvalidRequest, UnknownModel, UnknownBrowser: what cannot be; nothing is kept.
        Busy: as many comparisons of the owner are open as they may have runs.
        Unavailable: no browser is in the pool, or Redis does not answer.
    """
    asked = _checked(asked)
    model = registry.get_model(asked.model)
    _check_open(asked.owner)
    strategies = ways.named(model, asked.strategies, asked.owner)
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    prepared = None if asked.inputs is None else prepare(model, asked.inputs)
    found = reference.find(
        model,
        prepared.tensors if prepared else None,
        known_answer=asked.known_answer,
        rows=asked.rows,
        seed=seed,
    )
    try:
        cells = places.cells_for(asked.browsers, _columns(asked, strategies), found)
    except redis.exceptions.RedisError as error:
        raise Unavailable(
            f"Redis does not answer ({type(error).__name__}); start the pool with `{locations.UP}`"
        ) from error
    if not cells:
        raise Unavailable(
            f"no browser is in the pool; start it with `{locations.UP}` and wait for ready"
        )
    if len(cells) > _MOST_CELLS:
        raise InvalidRequest(f"{len(cells)} cells; expected at most {_MOST_CELLS}: name browsers")
    comparison = Comparison(
        model=model,
        model_sha256=model.sha256,
        asked={
            "browsers": list(asked.browsers),
            "backends": list(asked.backends),
            "strategies": list(asked.strategies),
            "rows": asked.rows,
            "strict": asked.strict,
            "filled_in": [*asked.filled_in, *(prepared.filled_in if prepared else ())],
        },
        source=_source(asked),
        inputs=[reference.told(tensor) for tensor in found.question.inputs],
        runs=asked.runs,
        seed=seed,
        reference=found.to_json(),
        owner=asked.owner,
        scheduled=asked.scheduled,
        created_at=clock.now(),
    )
    storage.keep(comparison.pk, found.question)
    try:
        _insert(comparison, cells)
    except BaseException:
        storage.path_of(comparison.pk).unlink(missing_ok=True)
        raise
    return comparison


def _checked(asked: Asked) -> Asked:
    """Every value as an option of a run would be read."""
    for name, kind in _NUMBERS.items():
        if (value := getattr(asked, name)) is not None:
            asked = dataclasses.replace(asked, **{name: kind.read(name, value)})
    for name, kind in _LISTS.items():
        asked = dataclasses.replace(asked, **{name: kind.read(name, getattr(asked, name))})
    for backend in asked.backends:
        if backend not in BACKENDS:
            raise InvalidRequest(
                f"backends: expected of {', '.join(BACKENDS)}, got {backend!r:.100}"
            )
    if asked.inputs is not None and asked.known_answer:
        raise InvalidRequest("expected either inputs or the known answer, got both")
    if asked.rows is not None and (asked.inputs is not None or asked.known_answer):
        raise InvalidRequest("rows is of random inputs; given inputs have theirs")
    return asked


def _columns(asked: Asked, strategies: Sequence[str]) -> list[places.Column]:
    backends = [name for name in BACKENDS if name in (asked.backends or BACKENDS)]
    return [places.Column(backend, strategy) for backend in backends for strategy in strategies]


def _source(asked: Asked) -> str:
    if asked.known_answer:
        return "known answer"
    return "random" if asked.inputs is None else (asked.source or "given")[-255:]


def _check_open(owner: str) -> None:
    """One person's comparisons must not keep everybody else's waiting for ever."""
    running = Comparison.objects.filter(state=ComparisonState.RUNNING)
    quotas.admit_kept(owner, running, "comparisons", limit="WEBPOOL_MAX_RUNS_PER_OWNER")


@transactions.repeated
def _insert(comparison: Comparison, cells: Sequence[ComparisonCell]) -> None:
    with transactions.alone("comparisons"):
        _check_open(comparison.owner)  # many at once may have been below the limit
        if not OnnxModel.objects.filter(pk=comparison.model_id).exists():
            raise InvalidRequest(f"model {comparison.model.name} was deleted meanwhile")
        comparison.save(force_insert=True)
        rows = [copy.copy(cell) for cell in cells]
        for cell in rows:
            cell.comparison = comparison
        ComparisonCell.objects.bulk_create(rows)


def get(comparison_id: uuid.UUID | str) -> Comparison:
    """Raises UnknownComparison."""
    rows = Comparison.objects.select_related("model").defer("model__summary")
    try:
        return rows.get(pk=comparison_id)
    except Comparison.DoesNotExist as error:
        raise UnknownComparison(f"no comparison has the id {str(comparison_id)!r}") from error
    except ValidationError as error:
        raise UnknownComparison(
            f"{str(comparison_id)!r} is not the id of a comparison (a UUID)"
        ) from error


def cancel(comparison: Comparison) -> bool:
    """Send no more runs; the engine ends the one in flight. False: it had ended already."""
    won = Comparison.objects.filter(pk=comparison.pk, state=ComparisonState.RUNNING).update(
        state=ComparisonState.CANCELLED, ended_at=clock.now(), note="", wait_until=None
    )
    comparison.refresh_from_db()
    return bool(won)


def remove(comparison: Comparison) -> None:
    """Forget it with its cells and its file; one that still runs is refused.

    Raises:
        Conflict: it runs; cancel it first.
    """
    gone, _ = (
        Comparison.objects.filter(pk=comparison.pk, turn_cell=None)
        .exclude(state=ComparisonState.RUNNING)
        .delete()
    )
    if not gone:
        raise Conflict(f"comparison {comparison.pk} still runs; cancel it, then delete it")
    storage.path_of(comparison.pk).unlink(missing_ok=True)
