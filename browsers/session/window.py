"""The browser through WebDriver: launched with the page in it, its page loaded again, ended."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

from browsers.core.errors import BrowserCrash, BrowserError, DeadlinePassed, InternalError
from browsers.core.failures import Rung
from browsers.drivers import (
    BrowserGone,
    CommandTimeout,
    Driver,
    DriverError,
    LaunchedBrowser,
    LaunchFailed,
    LaunchOptions,
    PageTimeout,
    QuitReport,
    TabCrashed,
)
from browsers.processes import Network

_SPARE_TAB_FAMILIES: Final = ("chrome", "edge")


class Window:
    """A browser with one tab that shows the page and, where that helps, a spare one.

    Used by one thread; `browser` may be read by any.
    """

    def __init__(self, browser_id: str, driver: Driver, launch: LaunchOptions) -> None:
        self._id = browser_id
        self._driver = driver
        self._launch = launch
        self._spare_tab: str | None = None
        self.browser: LaunchedBrowser | None = None

    def open(self, serve_in: Callable[[Network], str], *, polite: bool = False) -> LaunchedBrowser:
        """Launch the browser and show the page that `serve_in` its network tells the address of.

        `browser` is set as soon as there is one to end.
        """
        with _drivers_errors():
            self.browser = self._driver.launch(dataclasses.replace(self._launch, polite=polite))
            url = serve_in(self.browser.network)
            with contextlib.suppress(PageTimeout):  # who waits for its greeting will know
                self.browser.navigate(url)
            needs_spare = self.browser.installation.family in _SPARE_TAB_FAMILIES
            self._spare_tab = self.browser.open_spare_tab() if needs_spare else None
        return self.browser

    def show_again(self, url: str) -> None:
        """Refresh the tab, or move to the spare one if its process crashed.

        In Chromium nothing helps a crashed tab, and no other can be opened from it; a tab that was
        opened beforehand works.
        """
        self._show(url, lambda browser: browser.refresh())

    def show_anew(self, url: str) -> None:
        """As `show_again`, for a tab that may never have got as far as that address."""
        self._show(url, lambda browser: browser.navigate(url))

    def _show(self, url: str, how: Callable[[LaunchedBrowser], object]) -> None:
        if self.browser is None:
            raise BrowserCrash(f"{self._id} is not running", first_rung=Rung.RESTART)
        with _drivers_errors():
            try:
                with contextlib.suppress(PageTimeout):
                    how(self.browser)
            except TabCrashed:
                if self._spare_tab is None:
                    raise
                self.browser.switch_tab(self._spare_tab)
                self.browser.navigate(url)
                self._spare_tab = self.browser.open_spare_tab()

    def quit(self, deadline_s: float) -> QuitReport | None:
        """End the browser with all its processes; None if there is none."""
        browser, self.browser = self.browser, None
        return browser.quit(deadline_s) if browser is not None else None

    def alive(self) -> bool:
        """Whether its processes are there."""
        return self.browser is not None and self.browser.alive()

    def stopped(self) -> list[str]:
        """Those of its own processes that were stopped; from any thread."""
        browser = self.browser
        return browser.stopped() if browser is not None else []

    def ask(self) -> None:
        """Have the browser answer its driver.

        Raises:
            BrowserError: it does not.
        """
        if self.browser is None:
            raise BrowserCrash(f"{self._id} is not running", first_rung=Rung.RESTART)
        with _drivers_errors():
            self.browser.current_url()

    def pss_mb(self) -> float | None:
        """Memory of the process tree in MB; from any thread."""
        browser = self.browser
        return browser.pss_mb() if browser is not None else None

    def rss_mb(self) -> float | None:
        """The same with shared pages in full, which costs little to read; from any thread."""
        browser = self.browser
        return browser.rss_mb() if browser is not None else None


@contextlib.contextmanager
def _drivers_errors() -> Iterator[None]:
    """Drivers' errors in the terms of browsers.core.errors."""
    try:
        yield
    except DriverError as error:
        raise _translated(error) from error


def _translated(error: DriverError) -> BrowserError:
    match error:
        case LaunchFailed():
            return BrowserCrash(str(error), first_rung=Rung.RESTART)
        case TabCrashed():
            return BrowserCrash(str(error), first_rung=Rung.REFRESH)
        case BrowserGone():
            return BrowserCrash(str(error), first_rung=Rung.RESTART)
        case CommandTimeout():
            return DeadlinePassed(str(error), first_rung=Rung.RESTART)
    return InternalError(str(error), first_rung=Rung.RESTART)
