"""Texts for tests, in a process of their own: requests as lines of JSON, events and answers likewise."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
django.setup()

from inference.catalog import registry  # noqa: E402
from inference.core.generation import telling  # noqa: E402
from inference.core.generation.asked import Asked, Event  # noqa: E402
from inference.errors import WebpoolError  # noqa: E402
from inference.generation import report, serving  # noqa: E402


def say(document: Any) -> None:
    print(json.dumps(document), flush=True)


def tell(event: Event) -> None:
    say([type(event).__name__, dataclasses.asdict(event)])


async def tell_all(session: str, after: int) -> None:
    async for event in serving.events(session, after):
        tell(event)


def do(request: dict[str, Any]) -> None:
    match request["do"]:
        case "start":
            plain = telling.asked_to_json(Asked((), 1))
            asked = telling.asked_from_json({**plain, **request["asked"]})
            model = registry.get_model(request["model"])
            say(serving.start(model, asked, request.get("owner", "")))
        case "listen":
            for event in serving.listen(request["session"], request.get("after", 0)):
                tell(event)
        case "listen without a thread":
            asyncio.run(tell_all(request["session"], request.get("after", 0)))
        case "cancel":
            serving.cancel(request["session"])
            say("done")
        case "report":
            say(report.of_session(request["session"]))


for line in sys.stdin:
    try:
        do(json.loads(line))
    except WebpoolError as error:
        say({"status": error.status, "error": str(error)})
