"""Between a worker and its page: the local server, its sockets, and the engine's own."""

from browsers.bridge.bridge import Bridge, PageEvent, Reply
from browsers.bridge.websocket import Connection
from browsers.core.errors import NotLoaded, Refusal, StepRefused, reported

__all__ = [
    "Bridge",
    "Connection",
    "NotLoaded",
    "PageEvent",
    "Refusal",
    "Reply",
    "StepRefused",
    "reported",
]
