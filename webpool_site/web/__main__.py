"""`python -m webpool_site.web HOST PORT`: serve the application until a signal comes."""

from __future__ import annotations

import sys

import uvicorn

from webpool_site.web.connections import BoundedConnection


def main(host: str, port: int) -> None:
    uvicorn.run(
        "webpool_site.asgi:application",
        host=host,
        port=port,
        http=BoundedConnection,
        ws="none",  # no path speaks it: an upgrade is answered as the request that it also is
        lifespan="off",
        access_log=False,
        log_level="error",  # below that are lines that any stranger can cause
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
