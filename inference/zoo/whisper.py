"""Whisper: speech to tokens (Radford et al. 2022, arXiv:2212.04356), as encoder and decoder."""

from __future__ import annotations

import dataclasses

import numpy as np

from inference.documents import Array
from inference.zoo.builder import FLOAT, INT64
from inference.zoo.examples import Examples
from inference.zoo.graph import Graph
from inference.zoo.layers.activations import gelu
from inference.zoo.layers.attention import multi_head
from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import causal, count
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded, Weights


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
    """Sizes of a Whisper model; the defaults are a toy.

    Attributes:
        source: positions of the encoder: half as many as frames of sound.
        target: positions of the decoder.
    """

    encoder_layers: int = 2
    decoder_layers: int = 2
    hidden: int = 32
    heads: int = 4
    intermediate: int = 64
    vocabulary: int = 100
    mels: int = 8
    source: int = 20
    target: int = 32
    epsilon: float = 1e-5

    @property
    def frames(self) -> int:
        return 2 * self.source


WHISPER_TINY = WhisperConfig(4, 4, 384, 6, 1536, 51_865, 80, 1500, 448)


def graphs(
    config: WhisperConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """Both halves; the decoder has no cache and computes all positions.

    "encoder": input_features float32[batch, mels, frames] → last_hidden_state float32[batch, source, hidden].
    "decoder": decoder_input_ids int64[batch, sequence], encoder_hidden_states float32[batch, source, hidden]
    → logits float32[batch, sequence, vocabulary].
    """
    source = weights or Seeded(0)
    return {
        "encoder": _encoder(config, Net("whisper_encoder", precision, source)),
        "decoder": _decoder(config, Net("whisper_decoder", precision, source)),
    }


def example_inputs(
    config: WhisperConfig, seed: int, *, batch: int = 2, length: int = 8
) -> dict[str, Array]:
    """Inputs by name, but for what the encoder gives to the decoder."""
    some = Examples(seed, batch)
    return {
        "input_features": some.numbers(config.mels, config.frames),
        "decoder_input_ids": some.ids(length, config.vocabulary),
    }


def _encoder(c: WhisperConfig, net: Net) -> Graph:
    return net.graph(
        [("input_features", FLOAT, ["batch", c.mels, c.frames])],
        [(net.give(encoded(c, net), "last_hidden_state"), FLOAT, ["batch", c.source, c.hidden])],
    )


def encoded(c: WhisperConfig, net: Net) -> str:
    """What the encoder makes of input_features: [batch, source, hidden]."""
    at = "model.encoder"
    x = net.narrow("input_features")
    for name, channels, stride in (("conv1", c.mels, 1), ("conv2", c.hidden, 2)):
        kernel = net.tensor(
            f"{at}.{name}.weight", c.hidden, channels, 3, spread=(3 * channels) ** -0.5
        )
        bias = net.tensor(f"{at}.{name}.bias", c.hidden)
        x = gelu(
            net,
            net.op("Conv", x, kernel, bias, kernel_shape=[3], pads=[1, 1], strides=[stride]),
        )
    places = net.parameter(
        f"{at}.embed_positions.weight",
        net.precision.dtype,
        (c.source, c.hidden),
        lambda: sinusoids(c.source, c.hidden).astype(net.precision.dtype),
    )
    hidden = net.op("Add", net.op("Transpose", x, perm=[0, 2, 1]), places)
    for layer in range(c.encoder_layers):
        hidden = _self_attention(net, c, f"{at}.layers.{layer}", hidden)
        hidden = feed_forward(net, c, f"{at}.layers.{layer}", hidden)
    return net.layer_norm(f"{at}.layer_norm", hidden, c.hidden, epsilon=c.epsilon)


def _decoder(c: WhisperConfig, net: Net) -> Graph:
    at, ids = "model.decoder", "decoder_input_ids"
    memory = net.narrow("encoder_hidden_states")
    places = count(net, ids)
    hidden = net.op(
        "Add",
        net.embedding(f"{at}.embed_tokens", ids, c.vocabulary, c.hidden),
        net.embedding(f"{at}.embed_positions", places, c.target, c.hidden),
    )
    bias = causal(net, places)
    for layer in range(c.decoder_layers):
        block = f"{at}.layers.{layer}"
        hidden = _self_attention(net, c, block, hidden, bias)
        normal = net.layer_norm(
            f"{block}.encoder_attn_layer_norm", hidden, c.hidden, epsilon=c.epsilon
        )
        attended = multi_head(
            net, f"{block}.encoder_attn", normal, memory,
            width=c.hidden, heads=c.heads, key_bias=False,
        )  # fmt: skip
        hidden = feed_forward(net, c, block, net.op("Add", hidden, attended))
    hidden = net.layer_norm(f"{at}.layer_norm", hidden, c.hidden, epsilon=c.epsilon)
    logits = net.tied(f"{at}.embed_tokens", hidden, c.vocabulary, c.hidden)
    return net.graph(
        [
            (ids, INT64, ["batch", "sequence"]),
            ("encoder_hidden_states", FLOAT, ["batch", c.source, c.hidden]),
        ],
        [(net.give(logits, "logits"), FLOAT, ["batch", "sequence", c.vocabulary])],
    )


def _self_attention(net: Net, c: WhisperConfig, at: str, hidden: str, bias: str = "") -> str:
    normal = net.layer_norm(f"{at}.self_attn_layer_norm", hidden, c.hidden, epsilon=c.epsilon)
    attended = multi_head(
        net, f"{at}.self_attn", normal, normal,
        width=c.hidden, heads=c.heads, bias=bias, key_bias=False,
    )  # fmt: skip
    return net.op("Add", hidden, attended)


def feed_forward(net: Net, c: WhisperConfig, at: str, hidden: str) -> str:
    normal = net.layer_norm(f"{at}.final_layer_norm", hidden, c.hidden, epsilon=c.epsilon)
    inner = gelu(net, net.linear(f"{at}.fc1", normal, c.hidden, c.intermediate))
    return net.op("Add", hidden, net.linear(f"{at}.fc2", inner, c.intermediate, c.hidden))


def sinusoids(length: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Whisper's fixed positions: float32[length, width], sines, then cosines, of periods up to 10,000·2π."""
    rates = np.exp(-np.log(10_000) * np.arange(width // 2) / (width // 2 - 1))
    angles = np.arange(length)[:, None] * rates[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
