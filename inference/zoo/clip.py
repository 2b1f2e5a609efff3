"""CLIP: texts and images in one space (Radford et al. 2021, arXiv:2103.00020), as three graphs."""

from __future__ import annotations

import dataclasses
from math import log

from inference.documents import Array
from inference.zoo.builder import FLOAT, INT64
from inference.zoo.examples import Examples
from inference.zoo.graph import Graph
from inference.zoo.layers.activations import gelu_sigmoid
from inference.zoo.layers.attention import multi_head
from inference.zoo.layers.net import Net
from inference.zoo.layers.patches import class_first, patches
from inference.zoo.layers.positions import causal, count
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded, Weights


@dataclasses.dataclass(frozen=True)
class Tower:
    """Sizes of one of the two encoders."""

    layers: int = 2
    hidden: int = 32
    heads: int = 4
    intermediate: int = 64


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Sizes of a CLIP model; the defaults are a toy. `image` and `patch` are in pixels, both square."""

    text: Tower = Tower()
    vision: Tower = Tower(hidden=48)
    vocabulary: int = 100
    positions: int = 32
    image: int = 16
    patch: int = 4
    projection: int = 24
    epsilon: float = 1e-5

    @property
    def tokens(self) -> int:
        """Of an image, the class token included."""
        return (self.image // self.patch) ** 2 + 1


CLIP_BASE_32 = ClipConfig(
    Tower(12, 512, 8, 2048), Tower(12, 768, 12, 3072), 49_408, 77, 224, 32, 512
)  # fmt: skip


def graphs(
    config: ClipConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """The encoders, independent of one another, and what compares their results.

    "text_encoder": input_ids int64[texts, sequence] → text_pooled float32[texts, text hidden], taken at each
    row's highest id, which is the end of the text.
    "vision_encoder": pixel_values float32[images, 3, image, image] → image_pooled float32[images, vision
    hidden].
    "similarity": both → text_embeds and image_embeds of length 1, logits_per_image float32[images, texts]
    and its transpose logits_per_text.
    """
    source = weights or Seeded(0)
    return {
        "text_encoder": _text(config, Net("clip_text", precision, source)),
        "vision_encoder": _vision(config, Net("clip_vision", precision, source)),
        "similarity": _similarity(config, Net("clip_similarity", precision, source)),
    }


def example_inputs(
    config: ClipConfig, seed: int, *, batch: int = 2, length: int = 8
) -> dict[str, Array]:
    """Inputs of the encoders by name: as many texts as images."""
    some = Examples(seed, batch)
    return {
        "input_ids": some.ids(length, config.vocabulary),
        "pixel_values": some.numbers(3, config.image, config.image),
    }


def _text(c: ClipConfig, net: Net) -> Graph:
    at, width = "text_model", c.text.hidden
    words = net.embedding(f"{at}.embeddings.token_embedding", "input_ids", c.vocabulary, width)
    places = count(net, "input_ids")
    positions = net.embedding(f"{at}.embeddings.position_embedding", places, c.positions, width)
    hidden = net.op("Add", words, positions)
    hidden = _layers(net, c, at, c.text, hidden, bias=causal(net, places))
    hidden = net.layer_norm(f"{at}.final_layer_norm", hidden, width, epsilon=c.epsilon)
    end = net.op("Unsqueeze", net.op("ArgMax", "input_ids", axis=1), net.ints(-1))
    index = net.op("Expand", end, net.ints(1, 1, width))
    pooled = net.op("Squeeze", net.op("GatherElements", hidden, index, axis=1), net.ints(1))
    return net.graph(
        [("input_ids", INT64, ["texts", "sequence"])],
        [(net.give(pooled, "text_pooled"), FLOAT, ["texts", width])],
    )


def _vision(c: ClipConfig, net: Net) -> Graph:
    at, width = "vision_model", c.vision.hidden
    image = net.narrow("pixel_values")
    tokens = patches(
        net, f"{at}.embeddings.patch_embedding", image, size=c.patch, width=width, bias=False
    )
    token = net.tensor(f"{at}.embeddings.class_embedding", width)
    token = net.op("Reshape", token, net.ints(1, 1, width))
    hidden = class_first(net, token, tokens, image)
    hidden = net.op(
        "Add", hidden, net.table(f"{at}.embeddings.position_embedding", c.tokens, width)
    )
    # The name is misspelt in the published checkpoints.
    hidden = net.layer_norm(f"{at}.pre_layrnorm", hidden, width, epsilon=c.epsilon)
    hidden = _layers(net, c, at, c.vision, hidden)
    first = net.op("Gather", hidden, net.scalar(0, "int64"), axis=1)
    pooled = net.layer_norm(f"{at}.post_layernorm", first, width, epsilon=c.epsilon)
    return net.graph(
        [("pixel_values", FLOAT, ["images", 3, c.image, c.image])],
        [(net.give(pooled, "image_pooled"), FLOAT, ["images", width])],
    )


def _layers(net: Net, c: ClipConfig, model: str, tower: Tower, hidden: str, bias: str = "") -> str:
    width = tower.hidden
    for layer in range(tower.layers):
        at = f"{model}.encoder.layers.{layer}"
        normal = net.layer_norm(f"{at}.layer_norm1", hidden, width, epsilon=c.epsilon)
        attended = multi_head(
            net, f"{at}.self_attn", normal, normal,
            width=width, heads=tower.heads, bias=bias, key_bias=True,
        )  # fmt: skip
        hidden = net.op("Add", hidden, attended)
        normal = net.layer_norm(f"{at}.layer_norm2", hidden, width, epsilon=c.epsilon)
        inner = gelu_sigmoid(net, net.linear(f"{at}.mlp.fc1", normal, width, tower.intermediate))
        outer = net.linear(f"{at}.mlp.fc2", inner, tower.intermediate, width)
        hidden = net.op("Add", hidden, outer)
    return hidden


def _similarity(c: ClipConfig, net: Net) -> Graph:
    embeds = {}
    for kind, layer, tower in (
        ("text", "text_projection", c.text),
        ("image", "visual_projection", c.vision),
    ):
        pooled = net.narrow(f"{kind}_pooled")
        projected = net.linear(layer, pooled, tower.hidden, c.projection, bias=False)
        norm = net.op("ReduceL2", projected, axes=[-1], keepdims=1)
        embeds[kind] = net.op("Div", projected, norm)
    scale = net.op("Exp", net.tensor("logit_scale", mean=log(1 / 0.07)))
    products = net.op("MatMul", embeds["image"], net.op("Transpose", embeds["text"], perm=[1, 0]))
    per_image = net.op("Mul", products, scale)
    per_text = net.op("Transpose", per_image, perm=[1, 0])
    return net.graph(
        [
            ("text_pooled", FLOAT, ["texts", c.text.hidden]),
            ("image_pooled", FLOAT, ["images", c.vision.hidden]),
        ],
        [
            (net.give(per_image, "logits_per_image"), FLOAT, ["images", "texts"]),
            (net.give(per_text, "logits_per_text"), FLOAT, ["texts", "images"]),
            (net.give(embeds["text"], "text_embeds"), FLOAT, ["texts", c.projection]),
            (net.give(embeds["image"], "image_embeds"), FLOAT, ["images", c.projection]),
        ],
    )
