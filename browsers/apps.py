from __future__ import annotations

from django.apps import AppConfig


class BrowsersConfig(AppConfig):
    name = "browsers"
