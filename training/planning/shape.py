"""Read a model's config.json into its shape: every matrix, and which of them a quantisation leaves alone.

Only architectures whose every matrix is known here are read. Any other is refused: a plan that is guessed is worse
than none, since it is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Unplanned(ValueError):
    """A config, model or wish that cannot be planned; its text is one line: where: what is wrong; what to do."""


class Matrix(NamedTuple):
    """One linear layer of a decoder layer, `rows` outputs of `columns` inputs, and whether it has a bias."""

    name: str
    rows: int
    columns: int
    bias: bool = False

    @property
    def size(self) -> int:
        return self.rows * self.columns


class Shape(NamedTuple):
    """The sizes of a decoder-only model; `norms` are the elements of all norms and of nothing else."""

    kind: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    matrices: tuple[Matrix, ...]  # of one decoder layer
    norms: int
    norms_per_layer: int  # over hidden states
    window: int | None  # tokens that a sliding layer keeps; None: every layer keeps all
    sliding_layers: int
    softcap: bool  # the logits pass through tanh: two more copies of them, and attention is not fused by default

    @property
    def linear(self) -> int:
        """Weights of the linear layers of all decoder layers: what a quantisation shrinks."""
        return self.layers * sum(one.size for one in self.matrices)

    @property
    def biases(self) -> int:
        return self.layers * sum(one.rows for one in self.matrices if one.bias)

    @property
    def embedding(self) -> int:
        """Weights of the input embedding; the head has as many, and shares them where they are tied."""
        return self.vocabulary * self.hidden

    @property
    def unquantised(self) -> int:
        """Weights that keep 16 bits under every quantisation here: embedding, head, norms and biases."""
        return self.embedding * (1 if self.tied else 2) + self.norms + self.biases

    @property
    def parameters(self) -> int:
        return self.linear + self.unquantised

    def kv_bytes(self, tokens: int, element: int = 2) -> int:
        """Bytes of keys and values of `tokens` tokens of one sequence, by the real head_dim and KV heads."""
        inside = tokens if self.window is None else min(tokens, self.window)
        kept = (self.layers - self.sliding_layers) * tokens + self.sliding_layers * inside
        return 2 * self.kv_heads * self.head_dim * element * kept


class _Family(NamedTuple):
    """What a model_type fixes that its config does not say."""

    qkv_bias: bool | None  # None: the config's attention_bias says
    output_bias: bool | None
    norms_per_layer: int = 2
    head_norms: bool = False  # a norm over head_dim for queries and keys each
    tied: bool = False  # transformers' default of tie_word_embeddings
    softcap: bool = False


_FAMILIES = {
    "qwen": _Family(True, False),
    "qwen2": _Family(True, False),
    "qwen3": _Family(None, None, head_norms=True),
    "llama": _Family(None, None),
    "mistral": _Family(False, False),
    "gemma2": _Family(None, None, norms_per_layer=4, tied=True, softcap=True),
}
# Keys by which a config says that it holds more than the matrices counted here.
_BEYOND = ("num_experts", "num_local_experts", "n_routed_experts", "text_config", "vision_config", "audio_config")
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def read(config: Mapping[str, Any], where: str = "config.json") -> Shape:
    """The shape that a config.json describes; raises Unplanned where it is unknown, incomplete or holds more."""
    kind = str(config.get("model_type"))
    known = ", ".join(_FAMILIES)
    if (family := _FAMILIES.get(kind)) is None:
        raise Unplanned(f"{where}: model_type {kind!r} is not known here, and is not guessed; there are {known}")
    if beyond := [key for key in _BEYOND if config.get(key)]:
        raise Unplanned(f"{where}: {beyond[0]} means weights that are not counted here; plan a dense text model")
    sizes = {key: _size(config, key, where) for key in _SIZES}
    hidden, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    kv_heads = _size(config, "num_key_value_heads", where, heads)
    head_dim = _size(config, "kv_channels" if kind == "qwen" else "head_dim", where, max(1, hidden // heads))
    if heads % kv_heads:
        raise Unplanned(f"{where}: {heads} heads cannot share {kv_heads} key-value heads; is the config whole?")
    intermediate = _intermediate(kind, sizes["intermediate_size"], hidden)
    matrices = _matrices(config, family, hidden, intermediate, heads * head_dim, kv_heads * head_dim)
    layers = sizes["num_hidden_layers"]
    norms = layers * (family.norms_per_layer * hidden + (2 * head_dim if family.head_norms else 0)) + hidden
    window, sliding = _sliding(config, kind, layers)
    return Shape(
        kind, hidden, intermediate, layers, heads, kv_heads, head_dim, sizes["vocab_size"],
        bool(config.get("tie_word_embeddings", family.tied)), matrices, norms,
        family.norms_per_layer, window, sliding, family.softcap,
    )  # fmt: skip


def _size(config: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise Unplanned(f"{where}: has no {key}; give the model's whole config.json")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Unplanned(f"{where}: {key} is {value!r}, which is no positive whole number")
    return value


def _intermediate(kind: str, size: int, hidden: int) -> int:
    """The width of one half of the gated MLP: first-generation Qwen's config counts both (5 to 6 times hidden)."""
    return size // 2 if kind == "qwen" and size >= 4 * hidden else size


def _matrices(
    config: Mapping[str, Any], family: _Family, hidden: int, intermediate: int, queries: int, keys: int
) -> tuple[Matrix, ...]:
    said = bool(config.get("attention_bias", False))
    inner = said if family.qkv_bias is None else family.qkv_bias
    outer = said if family.output_bias is None else family.output_bias
    mlp = bool(config.get("mlp_bias", False))
    apart = (Matrix("q", queries, hidden, inner), Matrix("k", keys, hidden, inner), Matrix("v", keys, hidden, inner))
    joined = (Matrix("qkv", queries + 2 * keys, hidden, inner),)  # one matrix, so LoRA adds one pair, not three
    return (
        *(joined if config["model_type"] == "qwen" else apart),
        Matrix("o", hidden, queries, outer),
        Matrix("gate", intermediate, hidden, mlp),
        Matrix("up", intermediate, hidden, mlp),
        Matrix("down", hidden, intermediate, mlp),
    )


def _sliding(config: Mapping[str, Any], kind: str, layers: int) -> tuple[int | None, int]:
    """(window, layers that slide): all of Mistral's, every other one of Gemma 2's, Qwen's only where it is used."""
    window = config.get("sliding_window")
    if not window or (kind in ("qwen2", "qwen3") and not config.get("use_sliding_window")):
        return None, 0
    if isinstance(kinds := config.get("layer_types"), list):
        count = sum(one == "sliding_attention" for one in kinds)
    elif kind == "gemma2":
        count = (layers + 1) // 2
    elif kind == "mistral":
        count = layers
    else:
        count = max(0, layers - int(config.get("max_window_layers", layers)))
    return (int(window), count) if count else (None, 0)
