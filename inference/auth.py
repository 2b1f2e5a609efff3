"""Who may call: API keys, logged-in users, and anonymous callers on loopback.

1. `Authorization: Bearer <key>`: an active key, within its requests per minute.
2. A session of the admin's login; writes need Django's CSRF token.
3. Nobody in particular: only while the server is bound to loopback and knows of no other host name, the
   caller is on loopback, names loopback as the host and is a process of the server's own user or of root,
   nothing says that a proxy stands between, and, for writes, no web page of another site sent the request,
   but for those that WEBPOOL_CORS_ORIGINS names. WEBPOOL_ANONYMOUS=0 lets none in.

Everything else is refused. Health endpoints do not ask.

What a user may do, logged in or by a key of theirs, is what Django's permissions say, whichever door they
take. Everybody who is let in reads, starts runs, batch jobs and comparisons, and steers
their own. Keys of nobody in
particular, and anonymous callers where those are let in, may do everything that /api/ offers.

Redis key
    webpool:rate:<key's id>:<minute>    requests so far in that minute; expires after two minutes
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import secrets
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

import redis.exceptions
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from browsers import locations
from browsers.core.failures import Category
from browsers.redis import client
from inference import peers
from inference.errors import Busy, InvalidRequest, Unauthorised, Unavailable, WebpoolError
from inference.models import ApiKey

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OF_PROXIES = frozenset(
    f"HTTP_{name}"
    for name in ("X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_REAL_IP", "FORWARDED", "VIA")
)
"""Their headers, as Django's `META` has them."""
_MINUTE_S = 60

# What a request needs beyond being let in: a permission of Django's, nothing, or to own what it names.
ANYBODY = ""
OWNER = "owner"
START_RUN = START_BATCH_JOB = START_COMPARISON = ANYBODY
ADD_MODEL, DELETE_MODEL = "inference.add_onnxmodel", "inference.delete_onnxmodel"
ADD_PLAN = "inference.add_plan"
CHANGE_RUN = "inference.change_run"
CHANGE_BATCH_JOB = "inference.change_batchjob"
CHANGE_COMPARISON = "inference.change_comparison"
DELETE_COMPARISON = "inference.delete_comparison"
CHANGE_BROWSER = "browsers.change_browser"


class Forbidden(WebpoolError):
    """The caller is known, or need not be, but the request may not come this way."""

    category = Category.FORBIDDEN


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who sent a request; `name` is what runs record as their owner."""

    name: str
    user: User | None = None

    def may(self, permission: str) -> bool:
        """Whether Django's permissions allow it; callers that are no user may do everything."""
        return self.user is None or bool(self.user.has_perm(permission))


def create_key(
    name: str, *, user: User | None = None, requests_per_minute: int | None = None
) -> tuple[ApiKey, str]:
    """Make an API key; the second value is the key itself, which is stored nowhere.

    Raises:
        InvalidRequest: the name is empty, too long or taken.
    """
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise InvalidRequest(
            f"name of the key: expected 1 to 64 characters that can be printed, got {name!r:.100}"
        )
    if ApiKey.objects.filter(name=name).exists():
        raise InvalidRequest(f"an API key named {name!r} exists; choose another name or delete it")
    row = ApiKey(name=name, user=user, requests_per_minute=requests_per_minute)
    key = give_key(row)
    row.save()
    return row, key


def give_key(row: ApiKey) -> str:
    """Put a fresh key's digest and prefix into an unsaved row; returns the key."""
    key = f"wp_{secrets.token_urlsafe(32)}"
    row.digest, row.prefix = digest_of(key), key[:8]
    return key


def digest_of(key: str) -> str:
    """SHA-256; the key itself is 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def identify(request: HttpRequest, *, writes: bool) -> Caller:
    """Say who sent the request, or refuse it. Blocks: it may ask the database and Redis.

    Raises:
        Unauthorised (401): no valid key, login or loopback caller.
        Forbidden (403): a write from another site's page, or without the CSRF token.
        Busy (429): the key's requests of this minute are used up.
        InvalidRequest (400): the Host header names none of settings.ALLOWED_HOSTS.
    """
    if (known := known_caller(request)) is not None:
        return known
    host = check_host(request)
    if authorization := request.headers.get("Authorization"):
        return _by_key(authorization)
    if settings.SESSION_COOKIE_NAME in request.COOKIES and (user := _session_user(request)):
        if writes:
            _check_csrf(request)
        return Caller(user.get_username(), user)
    if not _is_local(request, host):
        raise Unauthorised(
            "expected an API key (Authorization: Bearer <key>) or a login at /admin/, got neither; "
            f"`{locations.PROGRAM} create_api_key NAME` makes a key"
        )
    if writes:
        _check_same_site(request, host)
    return Caller("anonymous")


def person(request: HttpRequest) -> Caller:
    """Whoever is logged in to the admin. Blocks: it may ask the database."""
    user = cast("User", request.user)
    return Caller(user.get_username(), user)


def allows(caller: Caller, rule: str) -> bool:
    """Whether a caller may do what has this rule; `OWNER` is left to who knows the owner."""
    return rule in (ANYBODY, OWNER) or caller.may(rule)


def check(caller: Caller, rule: str) -> None:
    """Refuse a caller whom a rule does not allow. Blocks: it may ask the database.

    Raises:
        Forbidden (403): names the permission that is lacking.
    """
    if not allows(caller, rule):
        raise Forbidden(
            f"expected the permission {rule}, which {caller.name} has not; an administrator gives it "
            "in the admin"
        )


def check_owner(caller: Caller, owner: str, permission: str) -> None:
    """Refuse who neither owns a thing nor may change those of others.

    Raises:
        Forbidden (403).
    """
    if owner != caller.name:
        check(caller, permission)


def check_staff_login(request: HttpRequest, permission: str) -> None:
    """Refuse whoever is not logged in to the admin with a permission. Blocks: it may ask the database.

    Raises:
        Unauthorised (401): no session of a user with staff status.
        Forbidden (403): one without the permission.
        InvalidRequest (400): the Host header names none of settings.ALLOWED_HOSTS.
    """
    check_host(request)
    user = _staff_user(request)
    if user is None:
        raise Unauthorised("expected a login with staff status, got none; log in at /admin/ first")
    check(Caller(user.get_username(), user), permission)


def is_staff(request: HttpRequest) -> bool:
    """Whether a user with staff status is logged in. Blocks: it may ask the database."""
    return _staff_user(request) is not None


def known_caller(request: HttpRequest) -> Caller | None:
    """Whom a door before this one let in."""
    known: Caller | None = getattr(request, "scope", {}).get("webpool.caller")
    return known


def visitor(request: HttpRequest) -> str | None:
    """The name of whoever is logged in, or None. Blocks: it asks the database."""
    user = _session_user(request)
    return user.get_username() if user is not None else None


def needs_no_lookup(request: HttpRequest) -> bool:
    """Whether `identify` will answer without the database or Redis."""
    return (
        "Authorization" not in request.headers
        and settings.SESSION_COOKIE_NAME not in request.COOKIES
    )


def check_host(request: HttpRequest) -> str:
    """The Host header; one that is not ours is refused: the guard against DNS rebinding.

    Raises:
        InvalidRequest: names the setting.
    """
    try:
        return request.get_host()
    except DisallowedHost:
        raise InvalidRequest(
            f"Host {request.headers.get('Host', '')!r:.200}: expected one of "
            f"{', '.join(settings.ALLOWED_HOSTS)} (WEBPOOL_ALLOWED_HOSTS)"
        ) from None


def _is_local(request: HttpRequest, host: str) -> bool:
    """Whether an anonymous caller is let in: loopback server, loopback caller, nothing between.

    A proxy without a word of its own is told by the host that it passes on, by its old HTTP, or by its user.
    """
    if not settings.WEBPOOL_ANONYMOUS:
        return False
    if not _OF_PROXIES.isdisjoint(request.META):
        return False
    if getattr(request, "scope", {}).get("http_version") == "1.0":
        return False
    caller = request.META.get("REMOTE_ADDR") or ""
    return _is_loopback_host(host) and _is_loopback(caller) and _is_of_our_user(request)


def _is_of_our_user(request: HttpRequest) -> bool:
    """Whether the process that calls is one of this user's, or root's, as far as the kernel tells."""
    scope = getattr(request, "scope", {})
    peer, ours = scope.get("client"), scope.get("server")
    if not peer or not ours:
        return True
    uid = peers.uid_of((peer[0], peer[1]), (ours[0], ours[1]))
    return uid is None or uid in (0, os.geteuid())


def _is_loopback_host(host: str) -> bool:
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name == "localhost" or _is_loopback(name.strip("[]"))


@functools.lru_cache(maxsize=64)
def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _by_key(authorization: str) -> Caller:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorised(f"Authorization: expected 'Bearer <key>', got scheme {scheme!r:.40}")
    row = ApiKey.objects.select_related("user").filter(digest=digest_of(key.strip())).first()
    if row is None or not row.active or (row.user is not None and not row.user.is_active):
        raise Unauthorised("the API key is unknown or was switched off; make one in the admin")
    if row.requests_per_minute is not None:
        count_request(row.pk, row.requests_per_minute, time.time())
    return Caller(f"key {row.name}", row.user)


def count_request(key_id: int, limit: int, now_s: float) -> None:
    """Count one request against a key's limit for this minute.

    Raises:
        Busy: the limit is reached; says when the next minute begins.
    """
    minute = int(now_s // _MINUTE_S)
    name = f"webpool:rate:{key_id}:{minute}"
    try:
        pipe = client().pipeline(transaction=False)
        pipe.incr(name)
        pipe.expire(name, 2 * _MINUTE_S)
        count, _ = pipe.execute()
    except redis.exceptions.RedisError as error:
        raise Unavailable(
            f"Redis does not answer ({type(error).__name__}); start the pool with `{locations.UP}`"
        ) from error
    if count > limit:
        raise Busy(
            f"this API key may send {limit} requests a minute; they are used up",
            retry_after_s=max(1.0, (minute + 1) * _MINUTE_S - now_s),
        )


def _session_user(request: HttpRequest) -> User | None:
    """The logged-in user, or None; works with and without Django's middleware."""
    if not hasattr(request, "session"):
        SessionMiddleware(_never).process_request(request)
    user = getattr(request, "user", None) or get_user(request)
    return cast("User", user) if user.is_authenticated and user.is_active else None


def _staff_user(request: HttpRequest) -> User | None:
    """The logged-in user, where they have staff status."""
    logged_in = settings.SESSION_COOKIE_NAME in request.COOKIES
    user = _session_user(request) if logged_in else None
    return user if user is not None and user.is_staff else None


class _Csrf(CsrfViewMiddleware):
    """Django's check, which tells its reason instead of answering with a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _check_csrf(request: HttpRequest) -> None:
    check = _Csrf(_never)
    request.csrf_processing_done = False  # type: ignore[attr-defined]
    check.process_request(request)
    if reason := check.process_view(request, _never, (), {}):
        raise Forbidden(
            f"CSRF: {reason} Send the cookie's token as X-CSRFToken, or use an API key instead of a login"
        )


def _never(_: HttpRequest) -> HttpResponse:
    raise AssertionError("these middlewares are only asked, they pass nothing on")


def _check_same_site(request: HttpRequest, host: str) -> None:
    """A web page of another site must not write through the operator's own browser."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    own = f"{'https' if request.is_secure() else 'http'}://{host}"
    if origin in settings.WEBPOOL_CORS_ORIGINS:
        return
    if site not in ("none", "same-origin") or (origin is not None and origin != own):
        raise Forbidden(
            f"a page of {origin or 'another site'} sent this; anonymous writes come from programs or from "
            f"pages of {own}: use an API key, or name the page's origin in WEBPOOL_CORS_ORIGINS"
        )
