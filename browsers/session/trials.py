"""Computing what may stop onnxruntime half way, in an engine beside the page's own (runtime/engines.js).

Whatever becomes of it there, the engine that holds the loaded models goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from browsers.bridge import NotLoaded, Reply
from browsers.core.errors import BrowserError, InternalError
from browsers.core.placement_log import check_claim, parse_placement
from browsers.core.protocol import WireTensor
from browsers.session.deadline import Deadline
from browsers.session.page import Page
from browsers.session.residents import ModelKey, Residents


class TrialEngine:
    """Used by one thread; `residents` check files, and make room for one that is tried beside them."""

    def __init__(self, page: Page, residents: Residents) -> None:
        self._page, self._residents = page, residents

    def run(
        self, key: ModelKey, inputs: Sequence[WireTensor], deadline: Deadline
    ) -> Sequence[WireTensor]:
        """All outputs; as `timed`."""
        return self.timed(key, inputs, deadline)[0]

    def timed(
        self, key: ModelKey, inputs: Sequence[WireTensor], deadline: Deadline
    ) -> tuple[Sequence[WireTensor], float]:
        """All outputs, and the computation's ms; the model is loaded first if need be, and stays until `end`.

        Raises:
            UnsupportedOperation: the backend lacks something, or leaves what is heavy to the CPU provider.
            BrowserError: it failed; the models in use are where they were, unless the page is gone.
        """
        header = {**key.header(), "outputs": None}
        try:
            return _read(self._page.try_out("run", header, inputs, deadline))
        except NotLoaded:
            self._load(key, deadline)
        try:
            return _read(self._page.try_out("run", header, inputs, deadline))
        except NotLoaded:  # it ended between the two
            raise InternalError(f"the engine for trials lost {key.sha256[:12]}…") from None

    def _load(self, key: ModelKey, deadline: Deadline) -> None:
        self._residents.make_way(key)
        reply, _ = self._page.try_out("load", key.header(), (), deadline)
        check_claim(parse_placement(reply["placement"]), backend=key.backend, strict=False)

    def end(self) -> None:
        """Free its memory; it starts again when it is needed."""
        with contextlib.suppress(BrowserError):  # without a page there is none
            self._page.end_trial("the trial is over")


def _read(reply: Reply) -> tuple[Sequence[WireTensor], float]:
    header, tensors = reply
    return tensors, float(header["compute_ms"])
