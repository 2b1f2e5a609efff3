"""Pages of other sites that may call: what their browsers ask for before, and read after (CORS).

Around everything else, so that refusals reach the page as well. Only the doors for programs take part, never
the admin; no cookie is read for such a page: it calls with a key, or anonymously where that is let in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from starlette.middleware.cors import CORSMiddleware

from inference.views.front import Application
from inference.views.http import Receive, Scope, Send
from inference.wire.oip.datatypes import HEADER_LENGTH

_DOORS = ("/v1", "/v2", "/api", "/metrics")
_READ = (HEADER_LENGTH, "Location", "Retry-After", "WWW-Authenticate")
_METHODS = ("GET", "HEAD", "POST", "DELETE")


def for_pages(application: Application, origins: Collection[str]) -> Application:
    """The application, which pages of these origins may call; of none: as it is."""
    if not origins:
        return application
    asked = CORSMiddleware(
        cast("Any", application),
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=("*",),  # OpenAI's own client sends a dozen that nobody reads
        allow_private_network=True,
        expose_headers=_READ,
    )

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if any(path == door or path.startswith(f"{door}/") for door in _DOORS):
            await asked(scope, cast("Any", receive), cast("Any", send))
        else:
            await application(scope, receive, send)

    return choose
