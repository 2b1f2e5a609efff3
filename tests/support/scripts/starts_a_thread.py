"""What no fork server may import: a thread is started by it."""

from __future__ import annotations

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
