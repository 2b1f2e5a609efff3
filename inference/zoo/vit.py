"""Vision transformers that classify images (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from __future__ import annotations

import dataclasses

from inference.documents import Array
from inference.zoo.builder import FLOAT
from inference.zoo.examples import Examples
from inference.zoo.graph import Graph
from inference.zoo.layers.activations import gelu
from inference.zoo.layers.attention import attend
from inference.zoo.layers.net import Net
from inference.zoo.layers.patches import class_first, patches
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded, Weights


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """Sizes of a ViT; the defaults are a toy. `image` and `patch` are in pixels, both square."""

    layers: int = 2
    hidden: int = 32
    heads: int = 4
    intermediate: int = 64
    image: int = 16
    patch: int = 4
    classes: int = 10
    epsilon: float = 1e-12

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2 + 1


VIT_BASE = VitConfig(12, 768, 12, 3072, 224, 16, 1000)


def graphs(
    config: VitConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """The classifier as "classifier".

    pixel_values float32[batch, 3, image, image] → logits float32[batch, classes].
    """
    c = config
    net = Net("vit", precision, weights or Seeded(0))
    image = net.narrow("pixel_values")
    at = "vit.embeddings"
    tokens = patches(
        net, f"{at}.patch_embeddings.projection", image, size=c.patch, width=c.hidden, bias=True
    )
    hidden = class_first(net, net.tensor(f"{at}.cls_token", 1, 1, c.hidden), tokens, image)
    hidden = net.op(
        "Add", hidden, net.tensor(f"{at}.position_embeddings", 1, c.tokens, c.hidden, spread=0.5)
    )
    for layer in range(c.layers):
        hidden = _layer(net, c, f"vit.encoder.layer.{layer}", hidden)
    hidden = net.layer_norm("vit.layernorm", hidden, c.hidden, epsilon=c.epsilon)
    first = net.op("Gather", hidden, net.scalar(0, "int64"), axis=1)
    net.give(net.linear("classifier", first, c.hidden, c.classes), "logits")
    graph = net.graph(
        [("pixel_values", FLOAT, ["batch", 3, c.image, c.image])],
        [("logits", FLOAT, ["batch", c.classes])],
    )
    return {"classifier": graph}


def example_inputs(config: VitConfig, seed: int, *, batch: int = 2) -> dict[str, Array]:
    """Inputs by name."""
    return {"pixel_values": Examples(seed, batch).numbers(3, config.image, config.image)}


def _layer(net: Net, c: VitConfig, at: str, hidden: str) -> str:
    normal = net.layer_norm(f"{at}.layernorm_before", hidden, c.hidden, epsilon=c.epsilon)
    query, key, value = (
        net.linear(f"{at}.attention.attention.{part}", normal, c.hidden, c.hidden)
        for part in ("query", "key", "value")
    )
    mixed = attend(net, query, key, value, heads=c.heads, size=c.head_size, scale=c.head_size**-0.5)
    attended = net.linear(f"{at}.attention.output.dense", mixed, c.hidden, c.hidden)
    hidden = net.op("Add", attended, hidden)
    normal = net.layer_norm(f"{at}.layernorm_after", hidden, c.hidden, epsilon=c.epsilon)
    inner = gelu(net, net.linear(f"{at}.intermediate.dense", normal, c.hidden, c.intermediate))
    return net.op("Add", net.linear(f"{at}.output.dense", inner, c.intermediate, c.hidden), hidden)
