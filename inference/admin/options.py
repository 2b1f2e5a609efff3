"""Options as fields of a form: each shows what is wrong with its value as every door says it."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from inference.errors import InvalidRequest
from inference.runs.option_kinds import Choice, Flag, Whole
from inference.runs.options import OPTIONS, Door, Option, options_of, parse_options
from inference.store.paths import sayable


class OptionField(forms.Field):
    """Its clean value is what was written, empty where it was left out."""

    def __init__(self, option: Option, door: Door) -> None:
        super().__init__(required=False, widget=_widget(option), help_text=option.help)
        self._option, self._door = option, door

    def clean(self, value: object) -> object:
        try:
            parse_options({self._option.name: value}, self._door, [self._option])
        except InvalidRequest as error:
            raise ValidationError(sayable(str(error))) from error
        return value


def option_fields(door: Door, options: Sequence[Option] = OPTIONS) -> dict[str, OptionField]:
    return {one.name: OptionField(one, door) for one in options_of(door, options)}


def _widget(option: Option) -> forms.Widget:
    match option.kind:
        case Choice(values):
            widget: forms.Widget = UnfoldAdminSelectWidget(
                choices=[("", ""), *((value, value) for value in values)]
            )
        case Whole():
            widget = UnfoldAdminIntegerFieldWidget()
        case Flag():
            widget = UnfoldBooleanWidget()
        case _:
            widget = UnfoldAdminTextInputWidget()
    return widget
