"""The pool for Python callers, in any script: no Django set-up by hand, no pool to start first.

    from inference.client import ResourcePoolBridgeIntegrationWithRecovery

opening.py      join the running pool, or start one that ends with this process
connections.py  which browsers a bound on their number leaves
choosing.py     who chooses the browser of a model
calls.py        runs from a script: one, or many at once
model.py        a model to call
bridge.py       the facade: ResourcePoolBridgeIntegrationWithRecovery
recovery.py     what recovery did and does: ResourcePoolErrorRecovery
"""

from inference.client.bridge import ResourcePoolBridgeIntegrationWithRecovery
from inference.client.recovery import ResourcePoolErrorRecovery

__all__ = ["ResourcePoolBridgeIntegrationWithRecovery", "ResourcePoolErrorRecovery"]
