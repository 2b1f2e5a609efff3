"""What the kinds of browsers that this machine launches have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from selenium.webdriver.common.options import BaseOptions

from browsers.drivers.errors import LaunchFailed
from browsers.drivers.installation import Absent, Installation, LaunchOptions, Missing
from browsers.drivers.launch.launched import LaunchedBrowser
from browsers.drivers.launch.launching import launch_local
from browsers.drivers.launch.xvfb import VirtualDisplay
from browsers.drivers.remote_session import launch_remote


class LocalDriver(ABC):
    """One kind of browser with a driver here; a subclass says only what is its own."""

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @property
    @abstractmethod
    def family(self) -> str: ...

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What a person can do where it is missing."""

    @property
    def untried(self) -> bool:
        """Whether no machine of ours could try this code; see `Missing`."""
        return False

    @property
    def build_mark(self) -> str:
        """See `Installation`."""
        return ""

    @abstractmethod
    def locate(self) -> Installation:
        """Find browser and driver. Absent: what is not here."""

    @abstractmethod
    def command(self, driver: Path) -> list[str]:
        """How to start the driver, on a port that it tells or finds as `{port}`."""

    @abstractmethod
    def options(
        self, launch: LaunchOptions, *, profile_dir: Path | None, browser: Path | None
    ) -> BaseOptions:
        """What a session asks for; None leaves profile and program to a remote end."""

    def env(self) -> Mapping[str, str]:
        """What driver and browser need in their environment."""
        return {}

    def display(self, options: LaunchOptions) -> AbstractContextManager[VirtualDisplay | None]:
        """An X server for a browser that cannot do without; the context ends it if a launch fails."""
        del options
        return nullcontext()

    def found(
        self, browser: Path, driver: Path, version: str, driver_version: str | None
    ) -> Installation:
        return Installation(
            kind=self.kind,
            family=self.family,
            browser_path=browser,
            driver_path=driver,
            version=version,
            driver_version=driver_version,
            build_mark=self.build_mark,
        )

    def find(self) -> Installation | Missing:
        """Look for the browser and its driver; never raises."""
        try:
            return self.locate()
        except Absent as absent:
            return Missing(
                kind=self.kind,
                family=self.family,
                reason=str(absent),
                remedy=self.remedy,
                untried=self.untried,
            )

    def launch(self, options: LaunchOptions) -> LaunchedBrowser:
        """Start it, here or at `remote_url`; see `Driver.launch`."""
        if options.remote_url is not None:
            wanted = self.options(options, profile_dir=None, browser=None)
            return launch_remote(self.kind, self.family, wanted, options)
        try:
            found = self.locate()
        except Absent as absent:
            reason, remedy = str(absent), self.remedy
            raise LaunchFailed(reason, tried="nothing", log_tail="", remedy=remedy) from absent
        assert found.driver_path is not None, "what was located here has a driver here"
        with self.display(options) as display:
            return launch_local(
                found,
                options,
                command=self.command(found.driver_path),
                make_options=lambda profile_dir: self.options(
                    options, profile_dir=profile_dir, browser=found.browser_path
                ),
                remedy=self.remedy,
                env=self.env(),
                display=display,
            )
