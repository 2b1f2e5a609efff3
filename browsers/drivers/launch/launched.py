"""One running browser: commands for its life cycle, a view of its processes, an end that is certain.

Data does not travel here: pages and their worker have a socket of their own.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from browsers import processes
from browsers.drivers.client import COMMAND_TIMEOUT_S, translated
from browsers.drivers.installation import Installation, LaunchOptions
from browsers.drivers.launch.private import remove
from browsers.drivers.launch.roles import Labels, Role, TreeProcess, label
from browsers.drivers.launch.server import DriverServer
from browsers.drivers.launch.xvfb import VirtualDisplay
from browsers.process_stat import stat
from browsers.processes import politeness
from browsers.processes.lookout import Lookout, Seen

if TYPE_CHECKING:
    from selenium.webdriver import Remote

_POLITE_SHARE = 0.5
"""How much of quit's deadline the driver gets to answer."""

_GRACE_S = 0.5
"""How long processes may take to end after the driver has answered."""


@dataclass(frozen=True)
class QuitReport:
    """How a browser ended.

    `polite`: the driver answered the quit in time. `killed`: processes of the browser that had to be
    killed (the driver, which always is, not counted).
    `left`: process ids that even SIGKILL did not end before the deadline (an incident).
    """

    polite: bool
    killed: int
    left: tuple[int, ...]
    took_s: float


@dataclass
class LaunchedBrowser:
    """A browser with an open session. Commands are for one thread; `quit` may come from any.

    Every command raises a `drivers.errors.DriverError`. `server` is None for a remote browser: its
    processes are not ours, `processes()` is empty and `pss_mb()` None.
    """

    installation: Installation
    options: LaunchOptions
    session: Remote
    server: DriverServer | None
    display: VirtualDisplay | None = None
    _quit: QuitReport | None = field(default=None, init=False)
    _quit_lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _gives_way: bool = field(default=False, init=False)

    def __repr__(self) -> str:
        state = "ended" if self._quit else "running"
        return f"<LaunchedBrowser {self.installation.kind} {self.version} {state}>"

    # --- what it is ---

    @property
    def version(self) -> str:
        """As the running browser says, else as its program says; with the mark of further flags."""
        said = self.session.capabilities.get("browserVersion") or self.installation.version
        return f"{said}{self.installation.build_mark}"

    @property
    def network(self) -> processes.Network:
        """Where what the browser is to reach must listen."""
        return self.server.network if self.server is not None else processes.HOST

    # --- commands ---

    def navigate(self, url: str) -> None:
        with translated(f"navigate to {url.partition('?')[0]}"):  # the rest may let somebody in
            self.session.get(url)

    def refresh(self) -> None:
        with translated("refresh"):
            self.session.refresh()

    def current_url(self) -> str:
        with translated("read the address"):
            return str(self.session.current_url)

    def execute(self, script: str, *args: Any) -> Any:
        """Run a function body in the page; its `return` value as JSON."""
        with translated("run a script"):
            return self.session.execute_script(script, *args)

    def execute_async(self, script: str, *args: Any) -> Any:
        """Run a function body whose last argument is a callback that takes the answer."""
        with translated("run an asynchronous script"):
            return self.session.execute_async_script(script, *args)

    def open_spare_tab(self) -> str:
        """Open another, empty tab without leaving this one; returns its handle."""
        with translated("open a spare tab"):
            here = self.session.current_window_handle
            self.session.switch_to.new_window("tab")
            spare = self.session.current_window_handle
            self.session.switch_to.window(here)
            return str(spare)

    def switch_tab(self, handle: str) -> None:
        with translated("switch the tab"):
            self.session.switch_to.window(handle)

    def set_command_timeout(self, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """How long to wait for the driver's answer to each following command."""
        self.session.command_executor.client_config.timeout = timeout_s  # type: ignore[union-attr]

    # --- processes ---

    def give_way(self) -> None:
        """Leave the processor to others until `at_full_speed`, where that can be taken back."""
        self._gives_way = politeness.give_way(self.processes()) or self._gives_way

    def at_full_speed(self) -> None:
        """End its politeness, also that which it was launched with."""
        if self._gives_way or self.options.polite:
            politeness.at_full_speed(self.processes())
            self._gives_way = False

    def processes(self) -> list[psutil.Process]:
        """The whole tree as seen from outside: wrapper, driver, browser, children, X server."""
        return self._with_display(processes.tree(self.server.root)) if self.server else []

    def _glance(self) -> tuple[tuple[Role, Seen], ...]:
        """As `process_table`, for whoever looks every few seconds."""
        if self._lookout is None:
            return ()
        tree = self._lookout.look()
        display = self.display.process if self.display is not None else None
        if display is not None and all(seen.process.pid != display.pid for seen in tree):
            now = stat(display.pid)
            if now is not None and not now.ended:
                tree.append(Seen(display, now))
        return self._labels.of(tree)

    @functools.cached_property
    def _lookout(self) -> Lookout | None:
        return Lookout(self.server.root) if self.server else None

    @functools.cached_property
    def _labels(self) -> Labels:
        return Labels()

    def _with_display(self, tree: Iterable[psutil.Process]) -> list[psutil.Process]:
        found = {process.pid: process for process in tree}
        if self.display is not None and processes.running(self.display.process):
            found[self.display.process.pid] = self.display.process
        return list(found.values())

    def process_table(self) -> tuple[TreeProcess, ...]:
        """The tree with roles, for whoever must find (or kill) a particular process."""
        return label(self.processes())

    def with_role(self, role: Role) -> list[psutil.Process]:
        return [each.process for each in self.process_table() if each.role is role]

    def stopped(self) -> list[str]:
        """Which of driver and browser somebody has stopped (SIGSTOP): they answer nobody, and end for nobody.

        A debugger's stop does not count. What runs pages is left out: their silence is felt.
        """
        return [
            f"{role} process {seen.process.pid}"
            for role, seen in self._glance()
            if seen.stat.stopped and role in (Role.DRIVER, Role.BROWSER)
        ]

    def pss_mb(self) -> float | None:
        """Memory of the tree in MB, shared pages counted in proportion; None where not readable."""
        if self.server is None:
            return None
        seen = self._glance_at_living()
        return processes.pss_mb(each.process for each in seen) if seen else None

    def rss_mb(self) -> float | None:
        """Resident memory of the tree in MB, shared pages counted by each: cheap, and moves as `pss_mb`."""
        seen = self._glance_at_living()
        return sum(each.stat.rss_mb for each in seen) if seen else None

    def _glance_at_living(self) -> list[Seen]:
        """Empty unless driver and browser are there."""
        table = self._glance() if self._quit is None else ()
        alive = _is_alive(role for role, _ in table)
        return [seen for _, seen in table] if alive else []

    def alive(self) -> bool:
        """Whether driver and browser processes are there (not whether they answer).

        A remote browser counts as alive until it is quit: only a command tells.
        """
        if self._quit is not None:
            return False
        if self.server is None:
            return True
        return _is_alive(each.role for each in self.process_table())

    # --- the end ---

    def quit(self, deadline_s: float = 10.0) -> QuitReport:
        """End the browser and everything that belongs to it, also what is stopped or hung.

        1. Record the process tree. 2. Ask the driver to quit, for half of the deadline at most.
        3. Kill what is left of the recorded and the present tree. 4. Look again. Idempotent.
        """
        with self._quit_lock:
            if self._quit is None:
                self._quit = self._end(deadline_s)
            return self._quit

    def _end(self, deadline_s: float) -> QuitReport:
        began = time.monotonic()
        recorded = self.processes()
        polite = self._ask_to_quit(deadline_s * _POLITE_SHARE)
        killed: list[psutil.Process] = []
        left: list[psutil.Process] = []
        if self.server is not None:
            rest = max(1.0, deadline_s - (time.monotonic() - began))
            screen = self.display.process if self.display is not None else None
            ours = [process for process in recorded if process != screen]
            drivers = {self.server.root} | {
                each.process for each in label(ours) if each.role in (Role.DRIVER, Role.CONTAINER)
            }
            browsers = [process for process in ours if process not in drivers]
            grace_s = min(_GRACE_S, rest / 2) if polite else 0.0
            killed = processes.wait_ended(browsers, timeout_s=grace_s)
            left = processes.kill_tree(self.server.root, ours, deadline_s=rest)
            self.server.network.close()
            if not left:
                self.server.popen.wait()
            if self.display is not None:
                self.display.stop(max(0.5, deadline_s - (time.monotonic() - began)))
                left += [each for each in [self.display.process] if processes.running(each)]
        if not left:
            remove(self.options.profile_dir)
        return QuitReport(
            polite=polite,
            killed=len(killed),
            left=tuple(process.pid for process in left),
            took_s=time.monotonic() - began,
        )

    def _ask_to_quit(self, timeout_s: float) -> bool:
        """DELETE the session from a thread of its own: a hung driver must not hold us."""
        answered = threading.Event()

        def ask() -> None:
            with contextlib.suppress(Exception):
                self.session.quit()
                answered.set()

        if self.server is not None and not self.alive():
            return False
        with contextlib.suppress(AttributeError):
            self.set_command_timeout(timeout_s)
        thread = threading.Thread(target=ask, name="webpool-quit", daemon=True)
        thread.start()
        thread.join(timeout_s)
        return answered.is_set()


def _is_alive(roles: Iterable[Role]) -> bool:
    """Whether driver and browser are among them."""
    return {Role.DRIVER, Role.BROWSER} <= set(roles)
