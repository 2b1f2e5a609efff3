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


def test_a_name_that_is_tried_from_everywhere_is_stopped_but_where_it_is_at_home() -> None:
    assert login("a long passphrase").status_code == 302
    for number in range(logins.MOST_FOR_NAME_ANYWHERE):
        logins.count_failure("root", f"10.9.{number // 250}.{number % 250}")
    assert b"too many wrong passwords" in login("a long passphrase", address=ELSEWHERE).content
    assert login("a long passphrase", address=ELSEWHERE, name="ann").status_code == 302
    assert login("a long passphrase").status_code == 302, "strangers do not lock its owner out here"
    for _ in range(logins.MOST_FOR_NAME):
        login("wrong")
    assert b"too many" in login("a long passphrase").content, "what comes from here counts here"


@pytest.mark.parametrize("password", ["", "wrong"])
def test_nobody_is_at_home_without_the_right_password(password: str) -> None:
    login(password)
    for _ in range(logins.MOST_FOR_NAME_ANYWHERE):
        logins.count_failure("root", ELSEWHERE)
    assert b"too many" in login("a long passphrase").content


def test_who_mistypes_at_home_does_not_stop_the_name_elsewhere() -> None:
    assert login("a long passphrase").status_code == 302
    for _ in range(logins.MOST_FOR_NAME_ANYWHERE):
        logins.count_failure("root", HERE)
    assert login("a long passphrase", address=ELSEWHERE).status_code == 302


def test_an_address_that_tries_many_names_is_stopped() -> None:
    for number in range(logins.MOST_FROM_ADDRESS):
        logins.count_failure(f"user{number}", HERE)
    assert b"too many wrong passwords" in login("a long passphrase", name="ann").content
    assert login("a long passphrase", name="ann", address=ELSEWHERE).status_code == 302
