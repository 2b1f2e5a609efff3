"""A browser of the bench's own: webpool's page in it, and nothing of the pool around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from browsers import locations
from browsers.drivers import LaunchOptions, get_driver
from browsers.session import BrowserSession


def own_browser(
    kind: str, *, files: Callable[[str], Path], memory_limit_mb: float | None = None
) -> BrowserSession:
    """Not started yet; `files` gives a model's file by its SHA-256. Without a limit, its family's counts."""
    driver, home = get_driver(kind), Path(settings.WEBPOOL_HOME)
    return BrowserSession(
        browser_id="bench",
        driver=driver,
        launch=LaunchOptions(
            profile_dir=home / "profiles" / "bench",
            log_path=home / "logs" / "bench.driver.log",
            start_timeout_s=settings.WEBPOOL_BROWSER_START_S,
            remote_url=None,
        ),
        files=files,
        runtime_dir=locations.npm_root(settings.WEBPOOL_HOME)
        / "node_modules"
        / "onnxruntime-web"
        / "dist",
        threads=settings.WEBPOOL_THREADS,
        memory_limit_mb=memory_limit_mb or settings.WEBPOOL_MEMORY_LIMIT_MB[driver.family],
        on_event=lambda event: None,
    )
