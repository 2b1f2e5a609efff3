"""The login form of the admin, which takes a limited number of wrong passwords."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from inference.store import logins


class CountedLogin(AuthenticationForm):
    def clean(self) -> object:
        name = str(self.cleaned_data.get("username", ""))
        address = str(self.request.META.get("REMOTE_ADDR", ""))
        if left := logins.wait_s(name, address):
            raise ValidationError(
                f"too many wrong passwords; try again in {left} seconds", code="too_many"
            )
        try:
            cleaned: object = super().clean()
        except ValidationError:
            logins.count_failure(name, address)
            raise
        if self.get_user() is not None:  # a form without a password comes so far, too
            logins.note_success(name, address)
        return cleaned


admin.site.login_form = CountedLogin
