"""The login of the admin: where it leads, and how often a password may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from browsers.redis import client
from inference.store import logins

HERE, ELSEWHERE = "10.1.2.3", "10.4.5.6"


@pytest.fixture(autouse=True)
def people(database: None, valkey: Any) -> Iterator[None]:
    client().flushall()
    User.objects.create_superuser("root", password="a long passphrase")
    User.objects.create_superuser("ann", password="a long passphrase")
    yield
    User.objects.all().delete()
    client().flushall()


def login(
    password: str, *, name: str = "root", address: str = HERE, path: str = "/admin/login/"
) -> Any:
    browser = Client(headers={"Host": "127.0.0.1"}, REMOTE_ADDR=address)
    return browser.post(path, {"username": name, "password": password})


def test_a_right_password_leads_to_the_admin() -> None:
    """Also where the form was not told where to go on."""
    answer = login("a long passphrase")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_wrong_passwords_run_out_for_a_name_from_an_address() -> None:
    for _ in range(logins.MOST_FOR_NAME):
        assert b"too many" not in login("wrong").content
    refused = login("a long passphrase")
    assert refused.status_code == 200, "the right one is refused now, too"
    assert b"too many wrong passwords" in refused.content
    assert 0 < logins.wait_s("root", HERE) <= logins.WINDOW_S
    assert login("a long passphrase", address=ELSEWHERE).status_code == 302
    assert login("a long passphrase", name="ann").status_code == 302


def test_an_address_that_tries_many_names_is_stopped() -> None:
    for number in range(logins.MOST_FROM_ADDRESS):
        logins.count_failure(f"user{number}", HERE)
    assert b"too many wrong passwords" in login("a long passphrase", name="ann").content
    assert login("a long passphrase", name="ann", address=ELSEWHERE).status_code == 302
