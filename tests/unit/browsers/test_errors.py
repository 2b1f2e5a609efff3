"""Errors of a browser: each has its category, which decides."""

from __future__ import annotations

import pytest

from browsers.core.errors import BY_CATEGORY, BrowserError, InternalError, from_page
from browsers.core.failures import Category, Retry, Rung


def test_every_failure_in_a_browser_has_its_error() -> None:
    assert set(BY_CATEGORY.values()) == set(BrowserError.__subclasses__())


@pytest.mark.parametrize("category", BY_CATEGORY)
def test_the_page_speaks_in_categories(category: Category) -> None:
    error = from_page(category.value, "why")
    assert error.category is category
    assert error.message == str(error) == "why"
    assert repr(error) == f"<{type(error).__name__} {category}: why>"


@pytest.mark.parametrize("code", ["melted", *sorted(set(Category) - set(BY_CATEGORY))])
def test_a_code_that_no_page_has_is_internal(code: str) -> None:
    error = from_page(code, "why")
    assert isinstance(error, InternalError)
    assert code in error.message


@pytest.mark.parametrize(
    ("category", "retry"),
    [(Category.INVALID_INPUT, Retry.NEVER), (Category.MODEL_INCOMPATIBLE, Retry.NEVER_HERE)],
)
def test_what_a_page_refuses_needs_no_repair(category: Category, retry: Retry) -> None:
    error = from_page(category, "why")
    assert (error.category.retry, error.first_rung) == (retry, None)


@pytest.mark.parametrize("category", BY_CATEGORY)
def test_by_one_browsers_word_no_input_is_wrong(category: Category) -> None:
    told = from_page(category, "why").judged
    assert (told.message, told.everywhere) == ("why", False)
    assert (told.category is category) == (category is not Category.INVALID_INPUT)
    counted = category is Category.TOO_LARGE  # by the page, which needs no runtime's word for it
    assert (told.category.retry is Retry.NEVER) == counted


def test_an_instance_may_name_another_rung() -> None:
    kind = BY_CATEGORY[Category.BROWSER_CRASH]
    assert kind("why").first_rung is Rung.RESTART
    assert kind("why", first_rung=Rung.REFRESH).first_rung is Rung.REFRESH
    assert kind("why").first_rung is Rung.RESTART
