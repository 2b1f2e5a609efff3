"""The page and its engine: who lives there, requests to them, and what a lost answer means."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from browsers.bridge import Bridge, Connection, PageEvent, Reply
from browsers.core.errors import (
    BrowserCrash,
    BrowserError,
    ConnectionLost,
    DeadlinePassed,
    DeviceLost,
)
from browsers.core.failures import Category, Rung
from browsers.core.protocol import WireTensor
from browsers.processes import Network
from browsers.reports import SessionEvent
from browsers.session.deadline import Deadline

ENGINE_START_S: Final = 20.0
_RECONNECT_GRACE_S: Final = 0.05
_PAGE_ANSWER_S: Final = 2.0
_EVENTS: Final = {
    "closed": (Category.CONNECTION, Rung.PING),
    "device_lost": (Category.DEVICE_LOST, Rung.RESTART_ENGINE),
    "engine_dead": (Category.INTERNAL, Rung.PING),
}


class Page:
    """webpool's page in one browser, over the bridge that serves it.

    `alive` says whether the browser's processes are there. `on_event` is called from another thread
    and must not block. `engine` names the page and the engine in it that live now.
    """

    def __init__(
        self,
        browser_id: str,
        *,
        files: Callable[[str], Path],
        runtime_dir: Path,
        threads: int,
        alive: Callable[[], bool],
        on_event: Callable[[SessionEvent], None],
    ) -> None:
        self.engine: tuple[str, int] = ("", 0)
        self.bridge = Bridge(files=files, runtime_dir=runtime_dir, on_event=self._heard)
        self._id = browser_id
        self._threads = threads
        self._alive = alive
        self._on_event = on_event
        self._acting = False
        self._hello = threading.Condition()
        self._greeting: Mapping[str, Any] = {}

    @property
    def url(self) -> str:
        return self.bridge.url(threads=self._threads)

    def serve_in(self, network: Network) -> str:
        """Serve the page in a browser's network; returns its address there.

        Raises:
            BrowserCrash: the network is gone, and the browser with it.
        """
        try:
            self.bridge.listen(network)
        except OSError as error:
            raise BrowserCrash(
                f"{self._id}: its network is gone ({error})", first_rung=Rung.RESTART
            ) from error
        return self.url

    # --- coming and going ---

    def expect(self) -> None:
        """Forget the page that greeted last: `wait` waits for another greeting."""
        with self._hello:
            self._greeting = {}

    def wait(self, deadline: Deadline, *, other_than: str = "") -> Mapping[str, Any]:
        """The greeting of the page that is connected; `other_than` is one that does not count."""

        def greeted() -> bool:
            return bool(self._greeting) and self._greeting["page"] != other_than

        with self._hello:
            if not self._hello.wait_for(greeted, timeout=deadline.left()):
                raise DeadlinePassed(
                    f"{self._id}: the page did not connect within {deadline.total_s:.1f} s",
                    first_rung=Rung.REFRESH,
                )
            return self._greeting

    def reconnect(self, deadline: Deadline) -> None:
        """Cut the page's socket and wait until the page has connected again; one that hangs does not."""
        self.expect()
        with self.deliberately():
            self.bridge.drop_connection()
            try:
                self.wait(deadline)
            except DeadlinePassed as late:
                # A driver waits long for such a page: no gentle repair.
                raise DeadlinePassed(late.message, first_rung=Rung.RESTART) from late

    def cut(self, connection: Connection | None) -> None:
        """Give up that connection and with it whatever the page was asked; from any thread."""
        if connection is not None:
            self.bridge.drop_connection(connection)

    @contextlib.contextmanager
    def deliberately(self) -> Iterator[None]:
        """What closes meanwhile was closed by us: no event."""
        self._acting = True
        try:
            yield
        finally:
            self._acting = False

    def _heard(self, event: PageEvent) -> None:
        """In the bridge's threads: note which engine lives, tell whoever listens what broke."""
        if event.name in ("hello", "engine_dead"):
            self.engine = (event.fields["page"], event.fields["engine"])
        if event.name in ("hello", "closed"):
            with self._hello:
                self._greeting = event.fields if event.name == "hello" else {}
                self._hello.notify_all()
        if event.name in _EVENTS and not self._acting:
            category, rung = _EVENTS[event.name]
            self._on_event(SessionEvent(event.name, category, str(event.fields["message"]), rung))

    # --- asking the page's main thread ---

    def ping(self, timeout_s: float) -> float:
        """Round trip in ms; says nothing of the engine's health."""
        try:
            reply, _ = self.bridge.request("ping", {}, timeout_s=timeout_s)
        except ConnectionLost as lost:
            raise self._explained(lost) from lost
        return float(reply["round_trip_ms"])

    def memory(self) -> Mapping[str, Any]:
        """What the page measures of itself; empty if it does not answer."""
        with contextlib.suppress(BrowserError):
            return self.bridge.request("memory", {}, timeout_s=_PAGE_ANSWER_S)[0]
        return {}

    def replace_engine(self, reason: str, deadline: Deadline) -> None:
        """A new engine is starting when this returns; the next request waits for it."""
        header = {"reason": reason}
        reply, _ = self.bridge.request("restart_engine", header, timeout_s=deadline.left())
        self.bridge.forget_engine()
        self.engine = (self.engine[0], reply["engine"])

    # --- asking the engine ---

    def facts(self, deadline: Deadline) -> Mapping[str, Any]:
        """What this browser can do; the answer says that the engine has started."""
        return self.bridge.request("facts", {}, timeout_s=deadline.left())[0]

    def unload(self, header: Mapping[str, Any]) -> None:
        self.bridge.request("unload", header, timeout_s=ENGINE_START_S)

    def ask(
        self,
        op: str,
        header: Mapping[str, Any],
        tensors: Sequence[WireTensor],
        deadline: Deadline,
        meanwhile: Callable[[], object] | None = None,
    ) -> Reply:
        """A request to the engine, whose failures are made good or explained."""
        try:
            return self.bridge.request(
                op, header, tensors, timeout_s=deadline.left(), meanwhile=meanwhile
            )
        except DeadlinePassed as late:
            raise self._give_up(op, deadline) from late
        except ConnectionLost as lost:
            raise self._explained(lost) from lost

    def try_out(
        self, op: str, header: Mapping[str, Any], tensors: Sequence[WireTensor], deadline: Deadline
    ) -> Reply:
        """A request to the engine for trials: what is late or loses its device there costs no other."""
        asked = {**header, "trial": True}
        try:
            return self.bridge.request(op, asked, tensors, timeout_s=deadline.left())
        except (DeadlinePassed, DeviceLost) as error:
            with contextlib.suppress(BrowserError):
                self.end_trial(error.message)
            raise type(error)(error.message, first_rung=Rung.PING) from error
        except ConnectionLost as lost:
            raise self._explained(lost) from lost

    def end_trial(self, reason: str) -> None:
        """End the engine for trials, if there is one."""
        self.bridge.request("end_trial", {"reason": reason}, timeout_s=_PAGE_ANSWER_S)

    def step(
        self,
        op: str,
        header: Mapping[str, Any],
        tensors: Sequence[WireTensor],
        timeout_s: float,
    ) -> Reply:
        """A request to the engine beside others, to whom one that is late leaves it; from any thread."""
        try:
            return self.bridge.step(op, header, tensors, timeout_s=timeout_s)
        except ConnectionLost as lost:
            raise self._explained(lost) from lost

    def _give_up(self, op: str, deadline: Deadline) -> DeadlinePassed:
        """Replace the engine, so that the next request does not queue behind the stuck one."""
        message = f"{self._id} did not finish {op!r} within {deadline.total_s:.1f} s"
        try:
            self.replace_engine(f"{op} passed its deadline", Deadline(_PAGE_ANSWER_S))
        except BrowserError as error:
            return DeadlinePassed(
                f"{message}; its page does not replace the engine ({error.message})",
                first_rung=Rung.REFRESH,
            )
        return DeadlinePassed(f"{message}; its engine was replaced", first_rung=Rung.PING)

    def _explained(self, lost: ConnectionLost) -> BrowserError:
        """Whether a lost connection means a dead browser, a dead page or only a cut socket.

        A living page connects again within milliseconds; one that does not is taken for dead.
        """
        deadline = Deadline(_RECONNECT_GRACE_S)
        while not deadline.passed():
            if self.bridge.connected:
                return lost
            if not self._alive():
                return BrowserCrash(
                    f"{self._id}: the browser's process ended", first_rung=Rung.RESTART
                )
            time.sleep(0.005)
        return BrowserCrash(
            f"{self._id}: the page is gone while the browser's process lives",
            first_rung=Rung.REFRESH,
        )
