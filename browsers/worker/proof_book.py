"""Proofs of one build of a browser, kept as rows, so that they outlive page, browser and worker."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from browsers.core.answers.proofs import Proof, Verdict
from browsers.models import BackendProof
from browsers.reports import BrowserFacts

_MOST_SHAPES = 256  # of a file on a backend: those that were tried last


class ProofBook:
    """`facts` says what the browser is now."""

    def __init__(self, kind: str, facts: Callable[[], BrowserFacts]) -> None:
        self._kind, self._facts = kind, facts

    def recall(self, sha256: str) -> Sequence[Proof]:
        """What came of trying the file on the backends of such a browser, by whichever worker."""
        facts = self._facts()
        adapters = {backend.name: backend.adapter or "" for backend in facts.backends}
        return [
            Proof(sha256, row.backend, row.shapes, Verdict(row.verdict), row.reason, row.cases)
            for row in BackendProof.objects.filter(sha256=sha256, **self._build(facts))
            if row.adapter == adapters.get(row.backend)
        ]

    def remember(self, proof: Proof) -> None:
        facts = self._facts()
        adapter = next((b.adapter or "" for b in facts.backends if b.name == proof.backend), "")
        mine: dict[str, Any] = {
            "sha256": proof.sha256,
            "backend": proof.backend,
            "adapter": adapter,
        }
        mine |= self._build(facts)
        BackendProof.objects.update_or_create(
            **mine,
            shapes=proof.shapes,
            verdict=proof.verdict.value,
            defaults={"reason": proof.reason[:2000], "cases": proof.cases},
        )
        rows = BackendProof.objects.filter(**mine, verdict=Verdict.RIGHT).order_by("-at")
        BackendProof.objects.filter(
            pk__in=rows.values_list("pk", flat=True)[_MOST_SHAPES:]
        ).delete()

    def _build(self, facts: BrowserFacts) -> dict[str, str]:
        return {
            "kind": self._kind,
            "version": facts.version,
            "runtime": facts.runtime,
            "host": socket.gethostname(),
        }
