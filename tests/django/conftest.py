"""What tests of the admin share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.test import Client


@pytest.fixture
def staff(database: None) -> Iterator[Client]:
    """A visitor who is logged in as `operator`, who may do everything."""
    user = get_user_model().objects.create_superuser("operator", password="right")
    visitor = Client(headers={"host": "localhost"})
    visitor.force_login(user)
    yield visitor
    user.delete()
