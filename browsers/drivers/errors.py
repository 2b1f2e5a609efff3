"""What goes wrong between a worker and its WebDriver, without Selenium's classes.

DriverError
 ├── LaunchFailed       the browser did not start; nothing was left running
 ├── BrowserGone        the driver or the browser process no longer answers or exists
 ├── TabCrashed         the page's process died; other tabs may live
 ├── CommandTimeout     no answer in time; the browser may be hung or only busy
 │    └── PageTimeout   the driver answers: the page was not loaded in time
 └── CommandFailed      the browser answered with an error (a script threw, no such window, …)
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of all errors of this package."""


class LaunchFailed(DriverError):
    """The browser did not start.

    `tried` is the command, `log_tail` the end of the driver's log, `remedy` what a person can do.
    """

    def __init__(self, reason: str, *, tried: str, log_tail: str, remedy: str) -> None:
        self.reason = reason
        self.tried = tried
        self.log_tail = log_tail
        self.remedy = remedy
        super().__init__(f"{reason}; tried: {tried}; do: {remedy}; driver log ends: {log_tail}")


class BrowserGone(DriverError):
    """The driver or its browser is no longer there."""


class TabCrashed(DriverError):
    """The current tab's process died."""


class CommandTimeout(DriverError):
    """The driver did not answer within its time."""


class PageTimeout(CommandTimeout):
    """The page was not loaded, or its script not done, within the time the browser was told to allow."""


class CommandFailed(DriverError):
    """The browser refused or failed the command."""
