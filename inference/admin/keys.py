"""API keys and people. A new key is shown once, in the message after saving."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Field, Model
from django.forms import ModelForm
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from inference.admin.audit import Audited, tell
from inference.auth import give_key
from inference.models import ApiKey

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(Audited, DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


def change_own_password(request: HttpRequest) -> HttpResponseBase:
    """The site's own page, in front of which this stands (inference/urls.py): it is told of nowhere else."""
    answer: HttpResponseBase = admin.site.password_change(request)
    if request.method == "POST" and answer.status_code == HTTPStatus.FOUND:
        tell(request, "change", f"user {request.user.get_username()}", "their own password")
    return answer


@admin.register(Group)
class GroupAdmin(Audited, DjangoGroupAdmin, ModelAdmin):
    pass


@admin.register(ApiKey)
class ApiKeyAdmin(Audited, ModelAdmin):
    list_display = ["name", "prefix", "user", "requests_per_minute", "active", "created_at"]
    list_filter = ["active"]
    fields = ["name", "user", "requests_per_minute", "active"]

    def formfield_for_dbfield(
        self, db_field: Field[object, object], request: HttpRequest, **kwargs: object
    ) -> object:
        """A key may belong to nobody and have no limit."""
        if db_field.null:
            kwargs["required"] = False
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: ModelForm[Model], change: bool
    ) -> None:
        if change:
            return super().save_model(request, obj, form, change)
        key = give_key(obj)
        super().save_model(request, obj, form, change)
        self.message_user(
            request, f"The key is {key} and is not shown again. Send it as: Authorization: Bearer <key>",
            messages.WARNING,
        )  # fmt: skip
        return None
