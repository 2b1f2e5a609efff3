"""Regressions are told: a log line, a Django signal, and a webhook where one is set."""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.dispatch import Signal

from history.models import Regression

log = logging.getLogger(__name__)
regression_changed = Signal()
"""Sent with `regression` when one opened or closed, after the commit, in the history worker."""

_WITHIN_S: Final = 10.0


def announce(regression: Regression) -> None:
    """Never raises: what was found is already written down."""
    document = described(regression)
    log.warning("regression %s: %s", document["state"], regression)
    for receiver, answer in regression_changed.send_robust(Regression, regression=regression):
        if isinstance(answer, Exception):
            log.error("%r failed on %s: %s", receiver, regression, answer)
    post(document, f"regression {document['id']}")


def post(document: Mapping[str, Any], what: str) -> None:
    """Tell the webhook, where one is set, in a thread; `what` names the document in the log."""
    url: str = settings.WEBPOOL_REGRESSION_WEBHOOK
    if url:
        # Not a daemon: a command that ends waits until the webhook was told, or cannot be.
        threading.Thread(target=_post, args=(url, document, what), name="webhook").start()


def described(regression: Regression) -> dict[str, Any]:
    """A regression as JSON."""
    names = (
        "browser", "model_type", "model_name", "platform", "series", "from_build", "to_build",
        "before_ms", "after_ms", "change_ratio", "severity", "p_value", "sample_size", "closed_by",
    )  # fmt: skip
    closed = regression.closed_at
    return {
        "id": regression.pk,
        "state": "open" if closed is None else "closed",
        **{name: getattr(regression, name) for name in names},
        "opened_at": regression.opened_at.isoformat(),
        "closed_at": closed.isoformat() if closed else None,
    }


def _post(url: str, document: Mapping[str, Any], what: str) -> None:
    request = urllib.request.Request(  # noqa: S310  the operator's own address
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S):  # noqa: S310
            pass
    except (OSError, ValueError) as error:
        log.error("the webhook was not told of %s: %s", what, error)
