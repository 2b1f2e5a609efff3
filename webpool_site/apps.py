from __future__ import annotations

from django.apps import AppConfig


class WebpoolSiteConfig(AppConfig):
    name = "webpool_site"

    def ready(self) -> None:
        from webpool_site import wiring

        wiring.connect()
