"""manage.py demo: start everything, run real models cut into pieces in real browsers, show it, stop."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from browsers import locations
from browsers.state.live import living
from inference.errors import InvalidRequest
from inference.management.cli import WebpoolCommand
from inference.models import OnnxModel
from webpool_site.demo import embeddings, text
from webpool_site.demo.embeddings import Embeddings
from webpool_site.demo.text import Writing
from webpool_site.stack import Stack


class Command(WebpoolCommand):
    help = (
        "Run all-MiniLM-L6-v2, cut into shards, over every installed browser, and show the result."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT)

    def handle(self, *_: Any, **options: Any) -> None:
        began = time.monotonic()
        stack = Stack(port=options["port"], out=self.stdout.write)
        try:
            stack.start()
            _check_models()
            stack.wait_ready()
            pool = sorted(living().values(), key=lambda b: b.id)
            wrong = Embeddings(self.stdout.write).show(pool)
            wrong += Writing(self.stdout.write, self._write).show(pool)
        finally:
            stack.stop()
        self.stdout.write(
            f"\nEverything is stopped. `{locations.UP}` starts it again and stays: the runs above "
            f"are at http://127.0.0.1:{options['port']}/admin/inference/run/ "
            f"({time.monotonic() - began:.0f} s)"
        )
        if wrong:
            raise SystemExit(1)

    def _write(self, text: str) -> None:
        self.stdout.write(text, ending="")
        self.stdout.flush()


def _check_models() -> None:
    """Before browsers start: whoever set up a part alone is told what brings them.

    Raises:
        InvalidRequest: one is not registered.
    """
    wanted = (embeddings.MODEL, text.MODEL)
    known = OnnxModel.objects.filter(name__in=wanted).values_list("name", flat=True)
    if missing := sorted(set(wanted) - set(known)):
        raise InvalidRequest(
            f"{', '.join(missing)}: not registered, and the demo runs them; `{locations.SETUP}` brings them"
        )
