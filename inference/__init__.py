"""Models, plans, runs: what is computed and what became of it."""

import os

# Else onnxruntime reports its use to its maker, from a thread that starts when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
