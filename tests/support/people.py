"""Callers of every kind, away from the machine that the server runs on."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Permission, User
from django.test import Client

from inference import auth

AWAY: Any = {"REMOTE_ADDR": "10.1.2.3"}


class QuickHasher(PBKDF2PasswordHasher):
    """Of a person of the tests nobody has to guess the password; any process of a pool can check it."""

    iterations = 1000


def stranger() -> Client:
    return Client(headers={"Host": "127.0.0.1"}, **AWAY)


def staff(name: str, *permissions: str, **more: Any) -> User:
    user = User.objects.create_user(name, is_staff=True, **more)
    for each in permissions:
        app, _, codename = each.partition(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return user


def logged_in(user: User) -> Client:
    caller = Client(headers={"Host": "127.0.0.1"}, **AWAY)
    caller.force_login(user)
    return caller


def by_key(name: str, user: User | None = None) -> Client:
    _, key = auth.create_key(name, user=user)
    return Client(headers={"Host": "127.0.0.1", "Authorization": f"Bearer {key}"}, **AWAY)
