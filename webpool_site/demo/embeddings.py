"""Sentences embedded by a model that is cut over every browser, and compared with onnxruntime."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from textwrap import indent
from typing import Any

import numpy as np
from tabulate import tabulate

from browsers.state.live import LiveBrowser
from inference.catalog import registry
from inference.errors import WebpoolError
from inference.graph.reference import equal, largest_difference, reference
from inference.runs import creation
from inference.runs.metrics import run_metrics
from inference.store.files import path_of
from inference.store.tensors import decode_array, encode_array

MODEL = "minilm"
SENTENCES = [
    "A cat sleeps on the warm windowsill.",
    "The kitten naps in the sunshine by the window.",
    "Stock markets fell sharply on Monday.",
    "Shares dropped steeply at the start of the week.",
]
ANSWER = "sentence_embedding"


class Embeddings:
    """The demo's first part; `say` prints a line."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say

    def show(self, pool: Sequence[LiveBrowser]) -> int:
        model = registry.get_model(MODEL)
        arrays = registry.tokenizer_of(model).encode(SENTENCES)
        expected = reference(path_of(model.sha256), arrays)[ANSWER]
        wrong = 0
        self._embeddings = np.zeros((0, 0))
        shards = max(2, len(pool))  # one browser alone computes both
        self._title(f"1. {MODEL} cut into {shards} layer shards, over every browser of the pool")
        wrong += self._run(arrays, expected, strategy="layer", shards=shards,
                           browsers=tuple(browser.id for browser in pool))  # fmt: skip
        pins = backend_pins(pool)
        self._title("2. the same, shards pinned to " + ", ".join(pins.values()))
        wrong += self._run(arrays, expected, strategy="layer", shards=len(pins), pins=pins)
        self._title("3. the whole model, five times in each browser (the first one loads it)")
        self._by_wasm: dict[str, set[bytes]] = {}
        for browser in pool:
            wrong += self._five_times(browser, arrays, expected)
        self._same_bits()
        self._title(
            "4. how alike the sentences are (cosine, from the sharded run's own embeddings)"
        )
        self._similarities()
        return wrong

    def _run(self, arrays: Any, expected: Any, **wishes: Any) -> int:
        try:
            run, outputs = creation.infer(_request(arrays, **wishes))
        except WebpoolError as error:
            self._say(f"   FAILED: {error}")
            return 1
        metrics = run_metrics(run)
        self._say(indent(shard_table(metrics["shards"]), "   "))
        return self._verdict(run, outputs, expected, metrics["inference_time_ms"])

    def _verdict(self, run: Any, outputs: Any, expected: Any, took_ms: float) -> int:
        got = next(decode_array(tensor) for tensor in outputs if tensor.name == ANSWER)
        difference = largest_difference(got, expected)
        self._embeddings = got
        right = equal(got, expected)
        self._say(
            f"   {'RIGHT' if right else 'WRONG'}: largest difference from onnxruntime on the unsplit "
            f"model {difference:.2e}; {took_ms:.0f} ms; run {run.pk}"
        )
        return 0 if right else 1

    def _five_times(self, browser: LiveBrowser, arrays: Any, expected: Any) -> int:
        times, worst, wrong, backend = [], 0.0, False, ""
        for _ in range(5):
            try:
                run, outputs = creation.infer(_request(arrays, browsers=(browser.id,)))
            except WebpoolError as error:
                self._say(f"   {browser.id:<15} FAILED: {error}")
                return 1
            shard = run_metrics(run)["shards"][0]
            times.append(shard["compute_ms"])
            backend = shard["backend"]
            got = next(decode_array(tensor) for tensor in outputs if tensor.name == ANSWER)
            worst = max(worst, largest_difference(got, expected))
            wrong = wrong or not equal(got, expected)
            if backend == "wasm":
                self._by_wasm.setdefault(browser.id, set()).add(got.tobytes())
        self._say(
            f"   {browser.id:<15}{backend:<8} compute ms: {' '.join(f'{t:7.1f}' for t in times)}   "
            f"median {statistics.median(times):.1f}   largest difference {worst:.2e}"
        )
        return int(wrong)

    def _same_bits(self) -> None:
        """Whether wasm gave one answer to the last bit, whichever browser it ran in."""
        answers = set().union(*self._by_wasm.values())
        if len(self._by_wasm) > 1:
            found = "the same bits" if len(answers) == 1 else f"{len(answers)} different answers"
            self._say(f"   wasm in {', '.join(sorted(self._by_wasm))}: {found}")

    def _similarities(self) -> None:
        embeddings = self._embeddings
        for i, first in enumerate(SENTENCES):
            for j in range(i + 1, len(SENTENCES)):
                score = float(embeddings[i] @ embeddings[j])
                self._say(f"   {score:+.3f}  {first!r} ~ {SENTENCES[j]!r}")

    def _title(self, text: str) -> None:
        self._say(f"\n{text}")


def _request(arrays: Any, **wishes: Any) -> creation.RunRequest:
    inputs = [encode_array(name, array) for name, array in arrays.items()]
    return creation.RunRequest(model=MODEL, inputs=inputs, owner="demo", **wishes)


def backend_pins(pool: Sequence[LiveBrowser]) -> dict[int, str]:
    """One shard per backend that the pool has, each on another browser where that is possible."""
    pins: dict[int, str] = {}
    taken: set[str] = set()
    for platform in ("webnn", "webgpu", "wasm"):
        able = [b.id for b in pool if any(backend.name == platform for backend in b.backends)]
        if able:
            browser = next((name for name in able if name not in taken), able[0])
            taken.add(browser)
            pins[len(pins)] = f"{browser}/{platform}"
    return pins


def shard_table(shards: Sequence[dict[str, Any]]) -> str:
    """Where each shard ran and how long it took, for people."""
    times = ("load", "compute", "transfer")
    head = ["shard", "browser", "version", "backend", "adapter", *(f"{what} ms" for what in times)]
    return tabulate(
        [
            [
                shard["index"], shard["browser"], shard["browser_version"], shard["backend"],
                (shard["adapter"] or "-") + (" (software)" if shard["software"] else ""),
                *(None if (ms := shard[f"{what}_ms"]) is None else f"{ms:.1f}" for what in times),
                ", ".join(f"{count} {provider}" for provider, count in sorted(shard["nodes"].items())),
            ]
            for shard in shards
        ],
        [*head, "nodes per execution provider"], tablefmt="plain", missingval="-", disable_numparse=True,
        colalign=["left"] * 5 + ["right"] * 3 + ["left"],
    )  # fmt: skip
