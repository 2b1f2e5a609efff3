"""The form that a session's text is held to, followed in the sandbox."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference import sandbox
from inference.core.generation.stages import Decoder
from inference.core.generation.wording.grammar import Unfollowable


class SandboxedGuide:
    """`core.generation.grammar.Guide` of one text."""

    def __init__(self, path: Path, decoder: Decoder, grammar: str) -> None:
        """`path`: of the model's tokenizer.json.

        Raises:
            ValueError: texts of this model cannot be held to that grammar.
        """
        self._session = sandbox.opened(
            "guide",
            reads=[path],
            path=str(path),
            vocabulary=decoder.vocabulary,
            stop_tokens=list(decoder.stop_tokens),
            grammar=grammar,
        )
        self._allowed = self._session.ask().arrays["allowed"]

    @property
    def allowed(self) -> NDArray[np.bool_]:
        return self._allowed

    def take(self, token: int) -> bool:
        try:
            answer = self._session.ask(token=token)
        except sandbox.Ended:
            raise  # it may be this machine's
        except sandbox.Refused as error:
            raise Unfollowable(f"the form that was asked for: {error}") from error
        if answer.document:
            self._session.close()
            return True
        self._allowed = answer.arrays["allowed"]
        return False
