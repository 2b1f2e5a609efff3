"""What the page of a model says of it: ports, size, operators counted, shards, proofs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from django.db.models import Count

from browsers.models import BackendProof
from inference.core.ports import Port, read_ports
from inference.documents import JsonObject
from inference.models import OnnxModel, PlanStep

_MOST_PROOFS: Final = 100


def told(model: OnnxModel) -> JsonObject:
    """Template context of templates/inference/model.html."""
    parts = _graphs(model)
    return {
        "model": model,
        "inputs": [_port(port) for port in model.input_ports],
        "outputs": [_port(port) for port in model.output_ports],
        "components": [_component(item, model.components) for item in model.components],
        "operators": _operators(parts),
        "graphs": [
            {
                "name": name,
                "producer": part["producer"],
                "layers": part["layers"],
                "opsets": ", ".join(f"{domain} {v}" for domain, v in part["opsets"].items()),
                "cuts": part["cuts"],
            }
            for name, part in parts.items()
            if part
        ],
        "proofs": _proofs(model),
        "runs": list(model.runs.order_by().values("state").annotate(n=Count("pk"))),
    }


def _graphs(model: OnnxModel) -> dict[str, JsonObject]:
    """What was read from each file, by component; under the model's own name where it is one file."""
    parts: dict[str, JsonObject] = model.summary.get("components") or {model.name: model.summary}
    return parts


def _operators(parts: dict[str, JsonObject]) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for part in parts.values():
        counts.update(part.get("operators", {}))
    return counts.most_common()


def _port(port: Port) -> JsonObject:
    shape = " × ".join(map(str, port.shape)) or "one value"
    return {"name": port.name, "dtype": port.dtype, "shape": shape, "default": port.default}


def _proofs(model: OnnxModel) -> list[JsonObject]:
    """What came of trying the model's files, its shards' included, on backends: counted by verdict."""
    files = {model.sha256: "the whole model"}
    files |= {item["sha256"]: item["name"] for item in model.components}
    cut = PlanStep.objects.filter(plan__model=model).exclude(sha256="").select_related("plan")
    for shard in cut:
        files.setdefault(shard.sha256, f"{shard.plan.way} shard {shard.index}")
    rows = BackendProof.objects.filter(sha256__in=files).order_by("kind", "backend", "verdict")
    return [{"file": files[row.sha256], "row": row} for row in rows[:_MOST_PROOFS]]


def _component(item: JsonObject, components: list[JsonObject]) -> JsonObject:
    after = ", ".join(components[index]["name"] for index in item["depends_on"])
    return {
        **item,
        "takes": _wires(read_ports(item["inputs"]), "←"),
        "makes": _wires(read_ports(item["outputs"]), "→"),
        "after": after or "nothing",
    }


def _wires(ports: Iterable[Port], arrow: str) -> str:
    """Each port, with its tensor where that has another name."""
    return ", ".join(
        f"{port.name} {arrow} {port.tensor}" if port.tensor != port.name else port.name
        for port in ports
    )
