"""What a program on another machine does with `webpool.client`: run by tests/integration/test_client.py."""

from __future__ import annotations

import asyncio
import importlib.util
import json

import numpy as np
from webpool.client import AsyncClient, Busy, Client, NotFound, PoolError, Unauthorised, Unreachable

IDS = np.array([[101, 7592, 2088, 102]])


def blocking() -> dict[str, object]:
    with Client() as pool:
        answer = pool.infer("minilm", {"input_ids": IDS}, strategy="layer", shards=2)
        run = pool.run(answer.run)
        texts = ["a browser computes", "two"]
        of_texts = pool.infer_texts("minilm", texts)
        started = pool.start("minilm", {"input_ids": IDS}, wait_s=60)
        given = {"input_ids": IDS}
        compared = pool.compare(
            "minilm", browsers="firefox", backends=["wasm"], runs=1, inputs=given
        )
        compared = pool.wait_comparison(compared, timeout_s=240)
        return {
            "ready": pool.ready(),
            "vector": answer["sentence_embedding"].tolist(),
            "dtype": str(answer["sentence_embedding"].dtype),
            "browsers": answer.browsers,
            "backends": answer.backends,
            "shards": [shard["browser"] for shard in run.metrics["shards"]],
            "texts": list(of_texts["sentence_embedding"].shape),
            "waited": started.state,
            "later": pool.outputs(started)["sentence_embedding"].tolist(),
            "models": [one.name for one in pool.models()],
            "ports": [port["name"] for port in pool.model("minilm").inputs],
            "comparison": compared.state,
            "asked": compared.document["asked"]["inputs"],
            "cells": [(cell["kind"], cell["state"]) for cell in compared.cells],
            "file": pool.comparison_file(compared)[:15].lower(),
            "refused": refusals(pool),
        }


def refusals(pool: Client) -> dict[str, list[object]]:
    def why(call: object, *words: object, **options: object) -> list[object]:
        try:
            call(*words, **options)  # type: ignore[operator]
        except (PoolError, TypeError) as error:
            return [type(error).__name__, getattr(error, "category", ""), str(error)]
        return ["nothing"]

    stranger, nobody = Client(key="wp_no"), Client("http://127.0.0.1:9")
    return {
        "model": why(pool.infer, "nosuch", {"x": IDS}),
        "type": why(pool.infer, "minilm", {"input_ids": IDS.astype(np.float32)}),
        "list": why(pool.infer, "minilm", {"input_ids": [[101, 102]]}),
        "deadline": why(pool.infer, "minilm", {"input_ids": IDS}, deadline_s=0.001),
        "key": why(stranger.models),
        "address": why(nobody.models),
    }


async def awaited() -> dict[str, object]:
    async with AsyncClient() as pool:
        answers = await asyncio.gather(
            *(pool.infer("minilm", {"input_ids": IDS + n}, browsers="firefox") for n in range(3))
        )
        run = await pool.wait(await pool.start("minilm", texts=["one"]), timeout_s=120)
        return {
            "vectors": [one["sentence_embedding"].tolist() for one in answers],
            "state": run.state,
            "rows": (await pool.outputs(run))["sentence_embedding"].shape[0],
            "models": [one.name for one in await pool.models()],
        }


ABSENT = ("django", "celery", "onnx", "selenium", "inference", "browsers")
assert not [name for name in ABSENT if importlib.util.find_spec(name)]
assert issubclass(Busy, PoolError) and issubclass(NotFound, PoolError)
assert issubclass(Unauthorised, PoolError) and issubclass(Unreachable, PoolError)
print(json.dumps({"blocking": blocking(), "awaited": asyncio.run(awaited())}))
