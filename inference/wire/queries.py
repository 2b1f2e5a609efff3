"""What an address may ask after its `?`: a view says it once, for /api/schema/ and for what is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias

from django.http import QueryDict
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from inference.documents import JsonObject
from inference.errors import InvalidRequest

Query: TypeAlias = OpenApiParameter | type[Serializer[Any]]
Queries: TypeAlias = Mapping[str, Collection[Query]]
"""By method what may be asked: one thing, or all that a serializer has."""

MOST_ON_A_PAGE = 1000


def text(name: str, about: str, **more: object) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, description=about, **more)  # type: ignore[arg-type]


def names_of(queries: Iterable[Query]) -> list[str]:
    found: list[str] = []
    for query in queries:
        found += [query.name] if isinstance(query, OpenApiParameter) else query().fields
    return found


def check_asked(given: QueryDict, known: Collection[str]) -> None:
    """Refuse what nothing reads: a misspelt filter would leave everything in.

    Raises:
        InvalidRequest: an unknown name, or one that is there twice.
    """
    if unknown := sorted(set(given) - set(known)):
        raise InvalidRequest(
            f"unknown {', '.join(map(repr, unknown)):.200} after the ?; expected "
            f"{', '.join(known) or 'nothing'}"
        )
    for name, values in given.lists():
        if len(values) > 1:
            raise InvalidRequest(f"{name}: expected it once after the ?, got {len(values)}")


class Described(AutoSchema):
    """A view's `queries` as its operations tell them."""

    def get_override_parameters(
        self,
    ) -> list[OpenApiParameter | Serializer[Any] | type[Serializer[Any]]]:
        queries: Queries = getattr(self.view, "queries", None) or {}
        return list(queries.get(self.method, ()))


class Pages(LimitOffsetPagination):
    """A list in pages; what is no number is refused, as the first page would answer another question."""

    max_limit = MOST_ON_A_PAGE

    def get_limit(self, request: Request) -> int | None:
        _check_number(request, self.limit_query_param, 1)
        return super().get_limit(request)

    def get_offset(self, request: Request) -> int:
        _check_number(request, self.offset_query_param, 0)
        return super().get_offset(request)

    def names(self) -> tuple[str, str]:
        return self.limit_query_param, self.offset_query_param

    def get_schema_operation_parameters(self, view: APIView) -> list[JsonObject]:
        limit, offset = super().get_schema_operation_parameters(view)
        limit["schema"] |= {"minimum": 1, "default": self.default_limit}
        limit["description"] = f"how many at most; more than {self.max_limit} are {self.max_limit}"
        offset["schema"] |= {"minimum": 0, "default": 0}
        offset["description"] = "how many are left out before them"
        return [limit, offset]


def _check_number(request: Request, name: str, least: int) -> None:
    given = request.query_params.get(name)
    if given is None:
        return
    if not (given.isascii() and given.isdigit() and len(given) <= 20 and int(given) >= least):
        raise InvalidRequest(f"{name}: expected a whole number from {least}, got {given!r:.100}")
