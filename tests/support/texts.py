"""Ask a running pool for texts, hear them token by token, and hurt it meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.shared import ROOT
from tests.support.stack import RunningStack

Told = tuple[str, dict[str, Any]]


class Refused(Exception):
    """What was asked for was refused, with this HTTP status."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class Texts:
    """A process beside the pool that starts sessions and listens to them."""

    def __init__(self, pool: RunningStack, model: str) -> None:
        self._model = model
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.scripts.texts"],
            cwd=ROOT, env=pool.env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes its pipes, too

    def start(self, prompt: Sequence[int], count: int, *, owner: str = "", **asked: Any) -> str:
        asked |= {"prompt": list(prompt), "max_tokens": count}
        session: str = self._ask(
            {"do": "start", "model": self._model, "asked": asked, "owner": owner}
        )
        return session

    def listen(self, session: str, after: int = 0, *, thread: bool = True) -> Iterator[Told]:
        """Each event as it comes: its kind and its fields."""
        self._say(
            {
                "do": "listen" if thread else "listen without a thread",
                "session": session,
                "after": after,
            }
        )
        kind = ""
        while kind != "Ended":
            kind, fields = self._heard()
            yield kind, fields

    def cancel(self, session: str) -> None:
        assert self._ask({"do": "cancel", "session": session}) == "done"

    def report(self, session: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask({"do": "report", "session": session})
        return found

    def _ask(self, request: Any) -> Any:
        self._say(request)
        return self._heard()

    def _say(self, request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        if isinstance(answer, dict) and "status" in answer:
            raise Refused(answer["status"], answer["error"])
        return answer


def tokens_of(told: Sequence[Told]) -> list[int]:
    """The tokens that a listener heard, which must have come in order, each once."""
    heard = [fields for kind, fields in told if kind == "TokenWritten"]
    assert [fields["index"] - heard[0]["index"] for fields in heard] == list(range(len(heard)))
    return [fields["pick"]["token"] for fields in heard]


def of_kind(told: Sequence[Told], wanted: str) -> list[dict[str, Any]]:
    return [fields for kind, fields in told if kind == wanted]
