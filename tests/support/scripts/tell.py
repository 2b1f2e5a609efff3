"""Tells history numbered samples for ever, from the number given on; prints each once it is acknowledged."""

import sys

from history.performance import BrowserPerformanceHistory

history = BrowserPerformanceHistory()
number = int(sys.argv[1])
while True:
    history.record_execution("firefox", "text", "m", latency_ms=1.0, extra={"number": number})
    print(number, flush=True)
    number += 1
