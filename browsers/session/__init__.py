"""One browser as its worker sees it: start, load, run, ping, repair, close.

session.py    what a worker asks for; the rooms below do it
window.py     the browser through WebDriver: launched with the page in it, its page loaded again, ended
page.py       the page and its engine: who lives there, requests, what a lost answer means
backends.py   what answers the known-answer model right, how fast, and which may be used
late.py       when a backend that was late is asked again
trials.py     an engine beside the page's own, for what may stop it
idle.py       what is done while nobody waits
proving.py    no backend computes a file before it answered it right
decoding.py   sessions that write text: models held for them, steps on their caches
kept.py       caches of sessions that have ended, kept while there is room
residents.py  which models are in the page, loading them, making room, computing
deadline.py   a point in time
"""

from browsers.reports import (
    BackendFacts,
    BrowserFacts,
    LoadedModel,
    LoadEvent,
    LoadReport,
    MemoryFacts,
    RunReport,
    SessionEvent,
)
from browsers.session.session import BrowserSession

__all__ = [
    "BackendFacts",
    "BrowserFacts",
    "BrowserSession",
    "LoadEvent",
    "LoadReport",
    "LoadedModel",
    "MemoryFacts",
    "RunReport",
    "SessionEvent",
]
