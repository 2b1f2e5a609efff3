"""The admin's search: models, runs, batch jobs and browsers by name or by the beginning of their id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

from browsers.models import Browser
from inference.models import BatchJob, OnnxModel, Run

_MOST: Final = 10
_LEAST_OF_AN_ID: Final = 4  # shorter ones would match most rows


def find(request: HttpRequest, words: str) -> list[SearchResult]:
    """What the user may look at, at most ten of each kind, in the form unfold shows."""
    words = words.strip()
    found: list[SearchResult] = []
    for rows, kind, icon in _matching(words):
        options = rows.model._meta
        if request.user.has_perm(f"{options.app_label}.view_{options.model_name}"):
            found += [_result(row, kind, icon) for row in rows[:_MOST]]
    return found


def _matching(words: str) -> Iterable[tuple[QuerySet[Model], str, str]]:
    yield OnnxModel.objects.filter(name__icontains=words).defer("summary"), "model", "deployed_code"
    yield Browser.objects.filter(pk__icontains=words), "browser", "language"
    if re.fullmatch(r"[0-9a-f-]+", words) and len(words) >= _LEAST_OF_AN_ID:
        # Ids are kept without dashes where the database has no type for them.
        yield Run.objects.filter(pk__istartswith=words), "run", "play_arrow"
        yield BatchJob.objects.filter(pk__istartswith=words), "batch job", "stacks"


def _result(row: Model, kind: str, icon: str) -> SearchResult:
    options = row._meta
    link = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[row.pk])
    state = getattr(row, "state", "")
    return SearchResult(title=str(row), description=f"{kind} {state}".strip(), link=link, icon=icon)
