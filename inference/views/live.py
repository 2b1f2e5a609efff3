"""/admin/pool/: the live page of the pool, the rows it asks for again and again, and its actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import redis.exceptions
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from kombu.exceptions import OperationalError

from inference import auth
from inference.errors import WebpoolError
from inference.ledger import draining, operations
from inference.models import Entrance, Run, RunState
from inference.store import audit
from inference.store.paths import sayable
from inference.telemetry.last_hour import pictures
from inference.telemetry.live_page import alarm_now, pool_now, takes_work

PAGE = "/admin/pool/"


@require_GET
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The whole page, with its rows as they are now."""
    context = {**admin.site.each_context(request), **pool_now(), "title": "The pool, live"}
    return render(request, "inference/live.html", context)


@require_GET
@never_cache
def rows(request: HttpRequest) -> HttpResponse:
    """What changes on the page; inference/static/inference/live.js asks for it."""
    return render(request, "inference/rows.html", pool_now())


@require_GET
@never_cache
def hour(request: HttpRequest) -> HttpResponse:
    """The pictures of the last hour, as they are now."""
    return render(request, "inference/hour.html", pictures())


@require_POST
def act(request: HttpRequest, browser_id: str) -> HttpResponse:
    """Do `action` to a browser and go back to the page, which says what was done or why not.

    What would leave no browser that takes work is asked back first, with what would follow.
    """
    if not auth.allows(auth.person(request), auth.CHANGE_BROWSER):
        raise PermissionDenied
    action = _ACTIONS.get(request.POST.get("action", ""))
    if action is None:
        return HttpResponseBadRequest(f"action: expected one of {', '.join(sorted(_ACTIONS))}")
    try:
        if action.consequence and "confirmed" not in request.POST and _is_last(browser_id):
            return _ask_back(request, browser_id, action)
        _do(request, browser_id, action)
    except (WebpoolError, redis.exceptions.RedisError, OperationalError) as error:
        messages.error(request, format_html("{}: {}", browser_id, sayable(str(error))))
    return redirect(PAGE)


@dataclasses.dataclass(frozen=True)
class _Action:
    """What a button does.

    Attributes:
        do: with the browser's id and who asks; returns what was done, in words.
        consequence: what follows when no other browser takes work; empty where nothing is taken away.
    """

    name: str
    do: Callable[[str, str], str]
    consequence: str = ""


def _is_last(browser_id: str) -> bool:
    return takes_work() == {browser_id}


def _ask_back(request: HttpRequest, browser_id: str, action: _Action) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "No browser will take work",
        "browser": browser_id,
        "action": action.name,
        "consequence": action.consequence,
        "active": Run.objects.filter(state=RunState.RUNNING).count(),
    }
    return render(request, "inference/confirm.html", context)


def _do(request: HttpRequest, browser_id: str, action: _Action) -> None:
    who = request.user.get_username()
    with audit.acting(Entrance.ADMIN, who, action.name, f"browser {browser_id}") as said:
        said.detail = action.do(browser_id, who)
    # A success that leaves nobody to work is none: the banner says what is so now.
    level = messages.WARNING if action.consequence and alarm_now() else messages.SUCCESS
    messages.add_message(request, level, said.detail)


def _restart(browser_id: str, by: str) -> str:
    operations.restart(browser_id, by=by)
    return f"{browser_id} restarts as soon as it is done with what it computes"


def _drain(browser_id: str, by: str) -> str:
    done = draining.drain(browser_id, reason=f"asked for by {by}")
    return (
        f"{browser_id} takes no new shards; {done.moved} that waited for it moved, it finishes "
        f"{done.left}; {done.others} other browsers take shards"
    )


def _quarantine(browser_id: str, by: str) -> str:
    taken = operations.quarantine(browser_id, by=by)
    return f"{browser_id} is quarantined until it is released; {taken} shards were taken from it"


def _release(browser_id: str, by: str) -> str:
    was = operations.release(browser_id)
    return f"{browser_id} takes shards again" if was else f"{browser_id} took shards already"


def _reset(browser_id: str, by: str) -> str:
    operations.reset_breakers(browser_id)
    return f"the breakers of {browser_id}, its own and those of models in it, are closed"


_ACTIONS = {
    "restart": _Action("restart", _restart),
    "drain": _Action(
        "drain", _drain, "It finishes what it computes; after that nothing is computed."
    ),
    "quarantine": _Action(
        "quarantine", _quarantine, "What it computes is taken from it, and nothing is computed."
    ),
    "release": _Action("release", _release),
    "reset": _Action("reset breakers", _reset),
}
