"""The error tree carries its decisions."""

from __future__ import annotations

import pytest

from browsers.core.errors import BY_CATEGORY, BrowserError, Category, InternalError, Rung, from_page


def test_every_category_has_its_error() -> None:
    assert set(BY_CATEGORY) == set(Category)
    assert set(BY_CATEGORY.values()) == set(BrowserError.__subclasses__())


@pytest.mark.parametrize("category", list(Category))
def test_the_page_speaks_in_categories(category: Category) -> None:
    error = from_page(category.value, "why")
    assert error.category is category
    assert error.message == str(error) == "why"
    assert repr(error) == f"<{type(error).__name__} {category}: why>"


def test_an_unknown_code_is_internal() -> None:
    error = from_page("melted", "why")
    assert isinstance(error, InternalError)
    assert "melted" in error.message


@pytest.mark.parametrize("category", [Category.INVALID_INPUT, Category.MODEL_INCOMPATIBLE])
def test_the_callers_own_mistakes_are_never_retried(category: Category) -> None:
    error = from_page(category, "why")
    assert (error.retryable, error.elsewhere, error.first_rung) == (False, False, None)


def test_an_instance_may_name_another_rung() -> None:
    kind = BY_CATEGORY[Category.BROWSER_CRASH]
    assert kind("why").first_rung is Rung.RESTART
    assert kind("why", first_rung=Rung.REFRESH).first_rung is Rung.REFRESH
    assert kind("why").first_rung is Rung.RESTART
