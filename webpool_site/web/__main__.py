"""`python -m webpool_site.web HOST PORT`: serve the application until a signal comes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

import uvicorn
from django.conf import settings

from webpool_site.web.connections import BoundedConnection
from webpool_site.web.server import RestingServer

_NOT_STARTED: Final = 3  # uvicorn's own
_SWITCH_S: Final = 0.0005
"""How long a thread may compute on while another has something to do. A small request changes threads some
times, and would wait each time for a tenfold of that, Python's own, beside whoever asks for much."""


def main(host: str, port: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        "webpool_site.asgi:application",
        host=host,
        port=port,
        http=BoundedConnection,
        ws="none",  # no path speaks it: an upgrade is answered as the request that it also is
        lifespan="off",
        access_log=False,
        forwarded_allow_ips=settings.WEBPOOL_PROXIES,  # unless told, uvicorn believes this machine
        log_level="error",  # below that are lines that any stranger can cause
        timeout_graceful_shutdown=3,
        reset_contextvars=True,  # on whose behalf one request was answered is no business of the next
    )
    server = RestingServer(config)
    with contextlib.suppress(KeyboardInterrupt):  # it has shut down, and raises the signal again
        server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
