"""The seam between webpool and a kind of browser: find it, launch it, and what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from browsers.drivers.installation import Installation, LaunchOptions, Missing

if TYPE_CHECKING:
    from browsers.drivers.launch.launched import LaunchedBrowser


class Driver(Protocol):
    """One kind of browser."""

    @property
    def kind(self) -> str: ...

    @property
    def family(self) -> str: ...

    def find(self) -> Installation | Missing:
        """Look for the browser and its driver; never raises."""
        ...

    def launch(self, options: LaunchOptions) -> LaunchedBrowser:
        """Start it. LaunchFailed when it does not come up within `start_timeout_s`; nothing is left."""
        ...
