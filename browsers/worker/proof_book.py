"""Proofs of one build of a browser, kept as rows, so that they outlive page, browser and worker."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from django.db import DatabaseError

from browsers.core.answers.proofs import ANY_SHAPES, TRIALS, Proof, Verdict
from browsers.models import BackendProof
from browsers.reports import BrowserFacts

log = logging.getLogger(__name__)
_MOST_SHAPES = 256  # of a file on a backend: those that were tried last


class ProofBook:
    """`facts` says what the browser is now."""

    def __init__(self, kind: str, facts: Callable[[], BrowserFacts]) -> None:
        self._kind, self._facts = kind, facts
        self._unwritten: list[Proof] = []

    def recall(self, sha256: str) -> Sequence[Proof]:
        """What came of trying the file on the backends of such a browser, by whichever worker."""
        for proof in self._unwritten.copy():
            self.remember(proof)
        facts = self._facts()
        adapters = {backend.name: backend.adapter or "" for backend in facts.backends}
        kept = [proof for proof in self._unwritten if proof.sha256 == sha256]
        return kept + [
            Proof(sha256, row.backend, row.shapes, Verdict(row.verdict), row.reason, row.cases)
            for row in BackendProof.objects.filter(sha256=sha256, **self._build(facts))
            if row.adapter == adapters.get(row.backend)
        ]

    def remember(self, proof: Proof) -> None:
        """Write it down; what the database does not take now is kept here, and written later."""
        if proof in self._unwritten:
            self._unwritten.remove(proof)
        try:
            self._write(proof)
        except DatabaseError as error:
            log.warning("the proof %s is not written yet: %s", proof, error)
            self._unwritten.append(proof)

    def _write(self, proof: Proof) -> None:
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
        rows = BackendProof.objects.filter(**mine).exclude(shapes=ANY_SHAPES).order_by("-at")
        BackendProof.objects.filter(
            pk__in=rows.values_list("pk", flat=True)[_MOST_SHAPES:]
        ).delete()

    def _build(self, facts: BrowserFacts) -> dict[str, str]:
        return {
            "kind": self._kind,
            "version": facts.version,
            "runtime": f"{facts.runtime}, trials {TRIALS}",
            "host": socket.gethostname(),
        }
