"""ModelShardingManager by every strategy, as an asyncio script; arguments: model, then strategies.

Inputs come as plain lists in JSON on stdin; prints as one line of JSON what each strategy answered.
"""

import asyncio
import json
import sys
from typing import Any

from inference.client.manager import ModelShardingManager

NUMBERS = {"layer": 3, "tensor": 2, "data": 2}


async def main() -> None:
    model, *strategies = sys.argv[1:]
    inputs = json.load(sys.stdin)
    told: dict[str, Any] = {}
    for strategy in strategies:
        manager = ModelShardingManager(
            model, num_shards=NUMBERS.get(strategy), shard_type=strategy, platform="wasm"
        )
        plan = await manager.initialize_sharding()
        answer = await manager.run_inference_sharded(inputs, max_retries=2)
        again = await asyncio.gather(
            *(manager.run_inference_sharded(inputs, max_retries=2) for _ in range(2))
        )
        same = all(
            abs(one["result"][name] - array).max() < 1e-5
            for one in again
            for name, array in answer["result"].items()
        )
        told[strategy] = {
            "plan": plan,
            "result": {name: array.tolist() for name, array in answer["result"].items()},
            "same": same,
            "metrics": answer["metrics"],
            "summary": manager.get_metrics(),
        }
        await manager.close()
        await manager.close()
    print(json.dumps(told))


asyncio.run(main())
