"""What cannot be derived from the declarations of options is compared with them."""

from __future__ import annotations

import dataclasses

from django.core.management import load_command_class

from inference.comparisons.asking import Asked
from inference.management.text_options import TAKEN
from inference.remote import calls
from inference.runs.option_kinds import Choice, Flag, Names, Pins, Seconds, Whole
from inference.runs.options import OPTIONS, Door, option, options_of
from inference.wire.openai.fields import Endpoint, fields_of
from inference.wire.openai.kinds import Count

# The light client's are texts, numbers and flags; a type checker shows it as a text before its import.
_TYPES = {Choice: "str", Names: "str", Pins: "str", Whole: "int", Seconds: "float", Flag: "bool"}


def told(given: type) -> dict[str, str]:
    """The fields of a TypedDict of the light client."""
    return {
        name: getattr(kind, "__forward_arg__", str(kind))
        for name, kind in given.__annotations__.items()
    }


def expected(door: Door) -> dict[str, str]:
    return {one.name: _TYPES[type(one.kind)] for one in options_of(door) if one.name != "timeout"}


def test_the_light_client_takes_every_option_of_the_doors_that_it_asks() -> None:
    assert told(calls.Options) == expected(Door.V2) == expected(Door.RUNS)
    wishes = told(calls.Wishes)
    assert wishes.pop("forms")
    assert wishes == expected(Door.TRY)


def test_the_light_client_asks_for_all_that_a_comparison_can_be_of() -> None:
    fields = {field.name for field in dataclasses.fields(Asked)}
    assert told(calls.Compared).keys() <= fields
    own = {"model", "owner", "scheduled", "source", "filled_in"}
    assert fields - own == told(calls.Compared).keys()


def test_v1_means_the_same_by_the_names_that_it_shares_with_runs() -> None:
    runs = {one.name: one.kind for one in OPTIONS}
    shared = [
        field
        for endpoint in Endpoint
        for field in fields_of(endpoint)
        if field.name in runs and field.served
    ]
    assert {field.name for field in shared} == {"browsers", "platform", "shards"}
    for field in shared:
        kind, run = field.kind, option(field.name).kind
        if isinstance(kind, Count):
            assert isinstance(run, Whole)
            assert (kind.least, kind.most) == (run.least, run.most)
        elif isinstance(kind, Choice):
            assert isinstance(run, Choice)
            assert set(kind.values) <= set(run.values)
        else:
            assert kind == run


def test_generate_has_a_flag_for_each_field_of_v1_that_it_takes() -> None:
    command = load_command_class("inference", "generate")
    flags = set(command.create_parser("manage.py", "generate")._option_string_actions)
    fields = {field.name for field in fields_of(Endpoint.COMPLETIONS) if field.served}
    # What has one choice of words in a terminal: a flag that is off, a list of ids, one answer, no events.
    others = {
        "model", "prompt", "stop", "speculation", "n", "best_of", "echo", "logprobs", "stream",
        "stream_options", "logit_bias", "stop_token_ids", "ignore_eos",
    }  # fmt: skip
    assert fields == {*TAKEN, *others}
    assert {f"--{name.replace('_', '-')}" for name in TAKEN} <= flags
