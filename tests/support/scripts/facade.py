"""Every call of the pool facade, as a script of its own: prints what it got as one line of JSON."""

import json
from typing import Any

from inference.client import ResourcePoolBridgeIntegrationWithRecovery, ResourcePoolErrorRecovery
from inference.errors import WebpoolError

IDS = [101, 2023, 102]

pool = ResourcePoolBridgeIntegrationWithRecovery(max_connections=2)
assert pool.initialize()
assert pool.initialize(), "again does nothing"
told: dict[str, Any] = {"started_here": pool.started_here}

embed = pool.get_model("text_embedding", "minilm", {"platform": "wasm"})
pinned = pool.get_model(
    "text_embedding", "minilm", {"browser": embed.plan["shards"][0]["browser"], "platform": "wasm"}
)
placed = pool.get_model(model_type="text_embedding", model_name="minilm")
told["selected_by"] = [embed.selection.by, pinned.selection.by, placed.selection.by]
told["pinned"] = pinned.plan["shards"][0]["browser"]

answer = embed({"input_ids": IDS})
told["vector"] = answer["result"]["sentence_embedding"][0].tolist()
told["filled_in"] = answer["metrics"]["filled_in"]
told["backends"] = [shard["backend"] for shard in answer["metrics"]["shards"]]
told["ran_in"] = pinned({"input_ids": IDS})["metrics"]["shards"][0]["browser"]

kind = told["pinned"].removesuffix("-2")
first = pool.get_model("text_embedding", "minilm", {"browser": f"{kind}-1", "platform": "wasm"})
told["first_of_its_kind"] = kind
told["first_alone"] = [
    item["metrics"]["shards"][0]["browser"]
    for item in pool.execute_concurrent([(first, {"input_ids": IDS})] * 6)
]
with ResourcePoolBridgeIntegrationWithRecovery(max_connections=1) as one:
    any_of_it = one.get_model("text_embedding", "minilm", {"platform": "wasm"})
    told["one_alone"] = [
        item["metrics"]["shards"][0]["browser"]
        for item in one.execute_concurrent([(any_of_it, {"input_ids": IDS})] * 6)
    ]

work: list[tuple[Any, dict[str, Any]]] = [
    (embed, {"input_ids": [101, word, 102]}) for word in range(2000, 2012)
]
work.insert(5, (embed, {"input_ids": "words"}))
done = pool.execute_concurrent(work)
told["succeeded"] = [item["success"] for item in done]
told["error"] = done[5]["error"]
told["vectors"] = [
    item["result"]["sentence_embedding"][0].tolist() for item in done if item["success"]
]

fast = pool.accelerate_model(
    "minilm", "wasm", error_recovery={"max_retries": 2, "performance_aware": True}
)
told["standby"] = [shard["browser"] for shard in fast.plan["shards"]] + [fast.standby]
told["accelerated"] = fast({"input_ids": IDS})["result"]["sentence_embedding"][0].tolist()

told["refused"] = []
cases: list[tuple[str, str, dict[str, Any]]] = [
    ("vision", "minilm", {}),
    ("text_embedding", "nosuch", {}),
    ("text_embedding", "minilm", {"speed": 3}),
    ("text_embedding", "minilm", {"browser": "lynx"}),
]
for type_, name, preferences in cases:
    try:
        pool.get_model(type_, name, preferences)
    except WebpoolError as error:
        told["refused"].append(str(error))
try:
    pool.accelerate_model("minilm", error_recovery={"retries": 1})
except WebpoolError as error:
    told["refused"].append(str(error))
try:
    ResourcePoolBridgeIntegrationWithRecovery(db_path="/elsewhere/h.duckdb").initialize()
except WebpoolError as error:
    told["refused"].append(str(error))

recovery = ResourcePoolErrorRecovery(pool)
hurt = told["pinned"]
told["repair"] = recovery.repair(hurt, rung="refresh")
told["after_repair"] = pinned({"input_ids": IDS})["result"]["sentence_embedding"][0].tolist()
told["incident"] = recovery.incidents(hurt, limit=1)[0]
told["rungs"] = [row["rung"] for row in recovery.rung_statistics() if row["category"] == "operator"]
told["breakers"] = {name: it["state"] for name, it in recovery.breakers().items()}
recovery.reset(hurt)
told["quarantine"] = [recovery.quarantine(hurt), recovery.release(hurt), recovery.release(hurt)]
try:
    recovery.repair(hurt, rung="prayer")
except WebpoolError as error:
    told["refused"].append(str(error))

told["metrics"] = pool.get_metrics()
telemetry = pool.export_telemetry(include_connections=True, include_models=False)
told["telemetry"] = {
    "keys": sorted(telemetry),
    "connections": [row["id"] for row in telemetry["connections"]],
}
told["health"] = pool.get_health_status()
pool.close()
pool.close()
try:
    embed({"input_ids": IDS})
except RuntimeError as error:
    told["closed"] = str(error)
print(json.dumps(told, default=str))
