"""Runs a model for ever, to be interrupted or killed; argument: "sync" or "async". Says when it runs."""

import asyncio
import sys

from inference.client import ResourcePoolBridgeIntegrationWithRecovery
from inference.client.manager import ModelShardingManager

INPUTS = {"input_ids": [[101, 2023, 102]] * 64}


def sync() -> None:
    pool = ResourcePoolBridgeIntegrationWithRecovery()
    pool.initialize()
    model = pool.get_model("text_embedding", "minilm")
    while True:
        assert model(INPUTS)
        print("running", flush=True)


async def asynchronous() -> None:
    manager = ModelShardingManager("minilm", num_shards=2, shard_type="layer")
    await manager.initialize_sharding()
    while True:
        assert await manager.run_inference_sharded(INPUTS)
        print("running", flush=True)


if sys.argv[1] == "sync":
    sync()
else:
    asyncio.run(asynchronous())
