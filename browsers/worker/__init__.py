"""Ties one Celery worker process to the one browser it owns.

worker.py      the browser's life: start, work, repair, end
status.py      what it says of itself: its row, its lease with the live state
pace.py        how long its models take there
ladder.py      repairs, one rung after the other
checkup.py     known answers, asked for between tasks; backends, tried with files
proof_book.py  what came of that, kept for this build of the browser
memory.py      how much its processes and its page take
relief.py      memory given back between tasks
quarantine.py  failed starts, and when they are too many
watch.py       the threads that notice what no computation does: keeper, pulse, events
owner.py       the one browser of this process

The worker's main thread owns the session: tasks run in it (solo pool), and so do repairs. None of the other
threads touches Selenium. A lease that is kept says that the main thread gets on: the keeper ends a process
whose main thread is stuck in the browser for longer than its own deadlines allow.
"""

from browsers.worker.owner import end_process, own, owned
from browsers.worker.worker import BrowserWorker, Hooks

__all__ = ["BrowserWorker", "Hooks", "end_process", "own", "owned"]
