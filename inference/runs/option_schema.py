"""Options as fields of the published schema. What they may be is read by `options.parse_options`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from inference.documents import JsonObject
from inference.runs.option_kinds import Choice, Flag, Microseconds, Names, Pins, Seconds, Whole
from inference.runs.options import OPTIONS, Door, Option, options_of


def with_options(
    name: str,
    base: type[serializers.Serializer[object]],
    door: Door,
    options: Sequence[Option] = OPTIONS,
) -> type[serializers.Serializer[object]]:
    """`base` with a field for each option that the door takes, for the schema only."""
    fields = {one.name: _field(one, door) for one in options_of(door, options)}
    return type(name, (base,), {"__doc__": base.__doc__, **fields})


def _field(option: Option, door: Door) -> serializers.Field[Any, Any, Any, Any]:
    words: JsonObject = {"required": False, "help_text": option.help}
    match option.kind:
        case Choice(values):
            return serializers.ChoiceField(choices=values, **words)
        case Whole(least, most):
            return serializers.IntegerField(min_value=least, max_value=most, **words)
        case Microseconds():
            return serializers.IntegerField(min_value=1, **words)
        case Seconds():
            return serializers.FloatField(**words)
        case Flag():
            return serializers.BooleanField(**words)
        case Names() if not door.takes_text:
            return serializers.ListField(child=serializers.CharField(), **words)
        case Pins() if not door.takes_text:
            return serializers.DictField(child=serializers.CharField(), **words)
    return serializers.CharField(**words)
