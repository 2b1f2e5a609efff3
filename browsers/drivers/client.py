"""Opening a WebDriver session over HTTP, and Selenium's errors told in our own.

The one place that sets Selenium's clocks: its own default waits 120 s, and urllib3 would try an
unanswered GET or DELETE four times over. Its client is imported with the first session: who only looks
which browsers there are, as `manage.py up` does, would pay half a second for it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import urllib3
from selenium.common.exceptions import (
    InvalidSessionIdException,
    NoSuchWindowException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver.common.options import BaseOptions
from selenium.webdriver.common.proxy import Proxy
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError

from browsers.drivers.errors import (
    BrowserGone,
    CommandFailed,
    CommandTimeout,
    DriverError,
    PageTimeout,
    TabCrashed,
)
from browsers.processes import HOST, Network

if TYPE_CHECKING:
    from selenium.webdriver import Remote
    from selenium.webdriver.remote.remote_connection import RemoteConnection

COMMAND_TIMEOUT_S = 30.0
"""How long any command may take before we stop waiting for the driver."""

PAGE_TIMEOUT_MS, SCRIPT_TIMEOUT_MS = 10_000, 25_000
"""What the browser is told to allow page loads and scripts: below COMMAND_TIMEOUT_S."""

_CRASHED = re.compile(
    # The last is Firefox after its content process died: the tab fell back to the parent process.
    r"tab crashed|page crash|not supported for parent process browsing contexts",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"disconnected|not connected to DevTools|browser has closed|session deleted|"
    r"invalid session|Failed to decode response from marionette|unable to connect to renderer|"
    r"Tried to run command without establishing a connection|chrome not reachable",
    re.IGNORECASE,
)


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def open_session(
    url: str,
    options: BaseOptions | Sequence[BaseOptions],
    *,
    timeout_s: float,
    network: Network = HOST,
) -> Remote:
    """A new session at `url` in `network`; several options are alternatives, the first that fits is taken.

    Raises Selenium's or urllib3's errors: callers translate them (`translated`).
    """
    from selenium.webdriver import Remote
    from selenium.webdriver.remote.client_config import ClientConfig

    alternatives = [options] if isinstance(options, BaseOptions) else list(options)
    for each in alternatives:
        each.timeouts = {"pageLoad": PAGE_TIMEOUT_MS, "script": SCRIPT_TIMEOUT_MS}
        each.unhandled_prompt_behavior = "dismiss"
    config = ClientConfig(
        remote_server_addr=url,
        timeout=timeout_s,  # type: ignore[arg-type]  # Selenium hands it to urllib3, which takes floats
        proxy=Proxy({"proxyType": "direct"}) if is_loopback(url) else None,
        init_args_for_pool_manager={
            "init_args_for_pool_manager": {"retries": urllib3.Retry(0, redirect=3)}
        },
    )
    session = Remote(
        command_executor=_connection(network)(client_config=config),
        options=alternatives[0] if len(alternatives) == 1 else alternatives,
    )
    config.timeout = COMMAND_TIMEOUT_S
    return session


def _connection(network: Network) -> type[RemoteConnection]:
    """Selenium's connection, whose sockets are made in that network."""
    from selenium.webdriver.remote.remote_connection import RemoteConnection

    class Inside(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            try:
                made = network.tcp_socket()
                made.settimeout(self.timeout)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.connect((self.host, self.port))
            except OSError as error:
                raise NewConnectionError(self, f"no connection ({error})") from error
            return made

    class Pool(HTTPConnectionPool):
        ConnectionCls = Inside

    class Connection(RemoteConnection):
        def _get_connection_manager(self) -> urllib3.PoolManager:
            manager: urllib3.PoolManager = super()._get_connection_manager()  # type: ignore[no-untyped-call]
            manager.pool_classes_by_scheme = {"http": Pool}
            return manager

    return Connection if network.private else RemoteConnection


def first_line(error: BaseException) -> str:
    """What the error says in one line, without Selenium's advertisement and urllib3's wrapping."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        error = inner
    text = str(getattr(error, "msg", None) or error).partition("For documentation on this")[0]
    lines = text.strip(" ;\n").splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what Selenium and urllib3 raise inside into this package's errors."""
    try:
        yield
    except DriverError:
        raise
    except urllib3.exceptions.ReadTimeoutError as error:
        raise CommandTimeout(f"{what}: no answer from the driver in time") from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        if isinstance(getattr(error, "reason", None), urllib3.exceptions.ReadTimeoutError):
            raise CommandTimeout(f"{what}: no answer from the driver in time") from error
        raise BrowserGone(f"{what}: the driver does not answer ({first_line(error)})") from error
    except InvalidSessionIdException as error:
        raise BrowserGone(f"{what}: the session is over ({first_line(error)})") from error
    except TimeoutException as error:
        raise PageTimeout(f"{what}: {first_line(error)}") from error
    except NoSuchWindowException as error:
        raise CommandFailed(f"{what}: the tab is gone ({first_line(error)})") from error
    except WebDriverException as error:
        text = str(error)
        if _CRASHED.search(text):
            raise TabCrashed(f"{what}: {first_line(error)}") from error
        if _GONE.search(text):
            raise BrowserGone(f"{what}: {first_line(error)}") from error
        raise CommandFailed(f"{what}: {first_line(error)}") from error
