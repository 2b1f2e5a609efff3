"""How a caller says where and how a run should go: each option declared once, for every door.

A door makes its fields of these declarations and reads values with `parse_options`, so that all of them take
the same words and refuse the same values with the same text. Adding an option is a row here and its use.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any

from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.models import Redundancy, Run, Strategy
from inference.runs.option_kinds import (
    Choice,
    Flag,
    Kind,
    Microseconds,
    Names,
    Pins,
    Seconds,
    Whole,
)
from inference.scheduling.wishes import PLATFORMS

# Stages of a decoder are for sessions, which keep its caches: no run asks for them.
STRATEGIES = tuple(value for value in Strategy.values if value != Strategy.DECODER)
REDUNDANCIES = tuple(filter(None, Redundancy.values))


class Door(enum.Enum):
    """Where callers come in."""

    V2 = "parameters of /v2/"
    RUNS = "POST /api/runs/"
    INFER = "manage.py infer"
    JOBS = "manage.py run_batch, POST /api/batches/, the admin's form"
    PLANS = "manage.py plan, POST /api/plans/"
    TRY = "POST /api/models/NAME/try/, the admin's page for it"
    PREFERENCES = "hardware_preferences of get_model"
    MANAGER = "ModelShardingManager"

    @property
    def takes_text(self) -> bool:
        """Whether values may come as people write them: `true`, `2.5`; an empty one is none."""
        return self in (Door.INFER, Door.JOBS, Door.PLANS, Door.TRY)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as every door calls it.
        kind: what its value may be.
        help: what it does, and what happens where it is left out.
        doors: those that take it.
        field: of `RunRequest`; empty: `name`.
        flag: of the command line; empty: made of `name`.
    """

    name: str
    kind: Kind
    help: str
    doors: frozenset[Door]
    field: str = ""
    flag: str = ""

    @property
    def target(self) -> str:
        return self.field or self.name

    @property
    def command_flag(self) -> str:
        return self.flag or "--" + self.name.replace("_", "-")

    def read(self, value: object) -> Any:
        """Raises InvalidRequest, as its kind."""
        return self.kind.read(self.name, value)


_RUNS = frozenset(Door) - {Door.PLANS, Door.TRY}
_CUTS = frozenset(Door) - {Door.TRY}
_TRIED = frozenset({Door.TRY})

OPTIONS: tuple[Option, ...] = (
    Option(
        "strategy", Choice(STRATEGIES),
        "how the model is cut; left out: component for a model of several files, layer for several shards, "
        "else none", _CUTS | _TRIED,
    ),
    Option(
        "shards", Whole(1, 10_000),
        "how many; left out: as many as browsers, graph and batch allow (of a plan: 2)", _CUTS | _TRIED,
    ),
    Option(
        "data_parallel", Whole(1, 10_000),
        "over how many copies of the cut model the batch is split", _CUTS,
    ),
    Option(
        "allow_unproved_split", Flag(),
        "split or join a batch even where it was tried, not proved, that its rows are independent", _CUTS,
    ),
    Option(
        "browsers", Names(), "ids, kinds or families that may be used, in order; left out: any",
        _RUNS | _TRIED,
    ),
    Option(
        "platform", Choice(PLATFORMS), "left out: the fastest measured one of each browser",
        _RUNS | _TRIED,
    ),
    Option(
        "pins", Pins(), "shard to browser and platform; wins over everything else",
        _RUNS - {Door.JOBS}, flag="--pin",
    ),
    Option("strict", Flag(), "refuse a backend that left a node to another execution provider", _RUNS),
    Option(
        "critical", Flag(), "spread the shards over browser families, then zones, before speed counts", _RUNS
    ),
    Option(
        "redundancy", Choice(REDUNDANCIES),
        "compute each shard in two browsers: the first answer counts, or compare: they must agree", _RUNS,
    ),
    Option(
        "max_retries", Whole(0, 100),
        "attempts of each shard after the first; left out: WEBPOOL_MAX_RETRIES", _RUNS,
    ),
    Option(
        "deadline_s", Seconds(),
        "seconds until a run fails; left out: WEBPOOL_RUN_DEADLINE_S", _RUNS, flag="--deadline",
    ),
    Option(
        "timeout", Microseconds(), "the deadline as the protocol has it", frozenset({Door.V2}),
        field="deadline_s",
    ),
)  # fmt: skip


def option(name: str) -> Option:
    return next(one for one in OPTIONS if one.name == name)


def options_of(door: Door, options: Sequence[Option] = OPTIONS) -> list[Option]:
    """What a door takes, in the order that its readers see."""
    return [one for one in options if door in one.doors]


def recorded() -> list[str]:
    """The options that a run's row keeps as they were asked for."""
    columns = {field.name for field in Run._meta.concrete_fields}
    return [one.name for one in OPTIONS if one.name in columns]


def parse_options(given: JsonView, door: Door, options: Sequence[Option] = OPTIONS) -> JsonObject:
    """A door's values as keyword arguments of `RunRequest`; None is the same as left out.

    Raises:
        InvalidRequest: an option that this door does not take, or a value that cannot be.
    """
    taken = options_of(door, options)
    if unknown := sorted(set(given) - {one.name for one in taken}):
        expected = ", ".join(one.name for one in taken)
        raise InvalidRequest(f"unknown parameter {', '.join(unknown)}; expected {expected}")
    read: JsonObject = {}
    for one in taken:
        value = given.get(one.name)
        if door.takes_text and isinstance(value, str):
            value = one.kind.from_text(value) if value else None
        if value is None:
            continue
        if one.target in read:
            raise InvalidRequest(f"expected {one.target} or {one.name}, got both")
        read[one.target] = one.read(value)
    return read
