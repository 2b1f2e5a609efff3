"""Options in the command line: a flag for each that a command takes, read as every door reads them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from inference.documents import JsonObject, JsonView
from inference.runs.option_kinds import Choice, Flag, Pins, Seconds
from inference.runs.options import OPTIONS, Door, Option, options_of, parse_options


def add_options(parser: ArgumentParser, door: Door, options: Sequence[Option] = OPTIONS) -> None:
    """Values are taken as they are written: `read_options` refuses what every door refuses."""
    for option in options_of(door, options):
        words: JsonObject = {"dest": option.name, "help": option.help, "default": None}
        match option.kind:
            case Flag():
                words["action"] = "store_true"
            case Pins():
                words |= {"action": "append", "metavar": "SHARD=BROWSER[/PLATFORM]"}
            case Choice(values):
                words["metavar"] = "{" + ",".join(values) + "}"
            case Seconds():
                words["metavar"] = "SECONDS"
            case _:
                words["metavar"] = option.command_flag.rpartition("-")[2].upper()
        parser.add_argument(option.command_flag, **words)


def read_options(given: JsonView, door: Door, options: Sequence[Option] = OPTIONS) -> JsonObject:
    """What a command was given, as `parse_options` reads it.

    Raises:
        InvalidRequest: a value that cannot be.
    """
    return parse_options(written(given, door, options), door, options)


def written(given: JsonView, door: Door, options: Sequence[Option] = OPTIONS) -> JsonObject:
    """The options among a command's arguments, as they were written."""
    names = [option.name for option in options_of(door, options)]
    return {name: given[name] for name in names if given[name] is not None}
