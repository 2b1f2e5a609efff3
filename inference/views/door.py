"""What all views of /api/ share: who may call, what an error looks like, JSON only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.mixins import ListModelMixin
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import set_rollback

from browsers import locations
from browsers.core.failures import Category
from inference import auth
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.runs import shares
from inference.store.paths import sayable
from inference.views import http
from inference.wire.bodies import BoundedJSON
from inference.wire.queries import Pages, Queries, check_asked, names_of


class CallerAuthentication(BaseAuthentication):
    """`request.auth` is the `auth.Caller`."""

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, auth.Caller]:
        writes = request.method not in auth.SAFE_METHODS
        caller = auth.identify(request._request, writes=writes)
        request._request.webpool_caller = caller  # type: ignore[attr-defined]
        return caller.user or AnonymousUser(), caller

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _let_go_of_data(request: object) -> None:
    """It would stay until cycles are collected: request, view and answer know one another."""
    if isinstance(request, Request):
        request._data = request._full_data = None  # type: ignore[attr-defined]


def caller_of(request: Request) -> auth.Caller:
    """Who sent an authenticated request."""
    caller: object = request.auth
    assert isinstance(caller, auth.Caller)
    return caller


def asked(serializer: type[Serializer[object]], data: object) -> JsonObject:
    """What a caller sent, checked; a name that nothing reads is a mistake, not a wish to be ignored.

    Raises:
        InvalidRequest: an unknown name.
        ValidationError: a value of the wrong form.
    """
    form = serializer(data=data)
    if isinstance(data, Mapping) and (unknown := sorted(set(map(str, data)) - set(form.fields))):
        raise InvalidRequest(
            f"unknown {', '.join(map(repr, unknown))}; expected {', '.join(form.fields) or 'nothing'}"
        )
    form.is_valid(raise_exception=True)
    given: JsonObject = form.validated_data
    return given


class CallerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = CallerAuthentication
    name = ["apiKey", "session"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": f"{locations.PROGRAM} create_api_key NAME",
            },
            {
                "type": "apiKey",
                "in": "cookie",
                "name": "sessionid",
                "description": "login at /admin/",
            },
        ]


class AlwaysFirst(BaseContentNegotiation):
    """The API speaks JSON whatever a caller says it accepts."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        content_type = (request.content_type or "").partition(";")[0].strip()
        for parser in parsers:
            if parser.media_type == content_type:
                return parser
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type


class Door:  # a comment, not a docstring: views inherit those into the published schema
    # Mixin of every view of /api/, first in the list of bases.
    # `rules` says what a caller needs, for each method that may change something; one without is closed.
    rules: Mapping[str, str] = {}
    # What may stand after the `?`, beside a list's pages; None: whatever there is, as nothing of it is read.
    queries: Queries | None = {}
    authentication_classes = [CallerAuthentication]
    permission_classes: list[object] = []
    parser_classes: object = [BoundedJSON]
    renderer_classes: object = [JSONRenderer]
    # What a body of those forms has, for who sends another one.
    takes = "see /api/docs/"
    content_negotiation_class: object = AlwaysFirst
    pagination_class: object = Pages

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        began = time.thread_time()
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            caller: auth.Caller | None = getattr(request, "webpool_caller", None)
            shares.charge(caller.name if caller else "", time.thread_time() - began)
            _let_go_of_data(getattr(self, "request", None))

    def check_permissions(self, request: Request) -> None:
        """Refuse a caller who lacks what the rule asks for; `OWNER` is left to who knows the owner."""
        method = request.method or ""
        if method in auth.SAFE_METHODS or not hasattr(self, method.lower()):
            return
        rule = self.rules.get(method)
        if rule is None:
            raise auth.Forbidden(f"{method} of this path is for nobody")
        auth.check(caller_of(request), rule)

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        if self.queries is not None and request.method != "OPTIONS":
            check_asked(request.query_params, self._asked_after(request.method or ""))

    def _asked_after(self, method: str) -> list[str]:
        method = "GET" if method == "HEAD" else method
        paged = method == "GET" and isinstance(self, ListModelMixin)
        own = names_of((self.queries or {}).get(method, ()))
        return [*own, *(Pages().names() if paged else ())]

    def _other_type(self) -> UnsupportedType:
        request: Request = self.request  # type: ignore[attr-defined]
        forms = " or ".join(parser.media_type for parser in request.parsers or ())
        got = repr(request.content_type)[:100] if request.content_type else "none"
        return UnsupportedType(f"Content-Type: expected {forms}, got {got}; {self.takes}")

    def get_exception_handler(self) -> Callable[[Exception, JsonObject], Response]:
        return answer_error

    def handle_exception(self, error: Exception) -> Response:
        """Failures are JSON also where the answer would have been a page."""
        if isinstance(error, UnsupportedMediaType):
            error = self._other_type()
        self.request.accepted_renderer = JSONRenderer()  # type: ignore[attr-defined]
        self.request.accepted_media_type = JSONRenderer.media_type  # type: ignore[attr-defined]
        return super().handle_exception(error)


class UnsupportedType(InvalidRequest):
    status = 415


def answer_error(error: Exception, context: JsonObject) -> Response:
    """{"error", "category"} with the status that fits, for whatever was raised."""
    set_rollback()
    if isinstance(error, APIException):
        headers = {}
        if getattr(error, "wait", None):
            headers["Retry-After"] = str(int(error.wait))  # type: ignore[attr-defined]
        category = Category.INVALID_INPUT if error.status_code < 500 else Category.INTERNAL
        document = {
            "error": sayable("; ".join(_sentences(error.detail))),
            "category": category,
        }
        return Response(document, status=error.status_code, headers=headers)
    if isinstance(error, Http404):
        return Response(
            {"error": "nothing is there", "category": Category.INVALID_INPUT}, status=404
        )
    if isinstance(error, PermissionDenied):
        return Response(
            {"error": "you may not do this", "category": Category.FORBIDDEN}, status=403
        )
    known = http.as_webpool_error(error)
    return Response(
        http.error_document(known), status=known.status, headers=http.error_headers(known)
    )


def _sentences(detail: object, where: str = "") -> list[str]:
    if isinstance(detail, dict):
        return [s for key, item in detail.items() for s in _sentences(item, f"{where}{key}: ")]
    if isinstance(detail, list):
        return [s for item in detail for s in _sentences(item, where)]
    return [f"{where}{detail}"]
