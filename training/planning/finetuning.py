"""The peak of one training step: what always lies there, and the greatest of loss, layer and optimiser's step.

Checked against the installed transformers and PEFT by tests/test_fit.py, which counts the live bytes of real steps.
"""

from __future__ import annotations

from typing import NamedTuple

from .inference import WORKSPACE, embedding_bytes, total
from .ranges import Peak, Term
from .shape import Matrix, Shape
from .stacks import OPTIMISERS, SLACK, TILE_TOKENS, TILE_WORDS, Stack
from .weights import HALF, Quantisation, largest, linear_bytes

FULL_STATES = 2  # a full fine-tuning in bf16 keeps AdamW's two states in bf16, too, so 2 bytes each
UNPACK = 8  # bytes of a weight while GPTQ's own PyTorch code shifts it out of its int32 and scales it
SCORES = 8  # bytes that an attention score which is not fused keeps for the backward pass
SURE = 0.03  # of all, either way


class Run(NamedTuple):
    """How a model is trained. `batch` is the micro-batch: sequences of `tokens` tokens in one forward pass."""

    tokens: int
    batch: int
    rank: int | None  # None: every weight is trained
    stack: Stack
    optimiser: str
    checkpointing: bool
    quantised: Quantisation
    shards: int = 1  # GPUs that share weights, gradients and states (ZeRO-3)
    embeddings: bool = False  # embedding and head are trained beside the adapters (modules_to_save), as whole copies

    @property
    def width(self) -> int:
        return self.tokens * self.batch

    @property
    def element(self) -> int:
        """Bytes of an adapter's weight, and of its gradient."""
        return self.stack.adapter_quantised if self.quantised.bits < 16 else self.stack.adapter

    @property
    def upcast(self) -> bool:
        """Whether all that is not quantised is put into fp32, and with it the states that pass from layer to layer."""
        return self.rank is not None and self.stack.upcasts and self.quantised.upcast


def trainable(shape: Shape, rank: int | None, embeddings: bool = False) -> int:
    """Weights that are trained: two thin matrices beside each linear layer of the decoder, or all."""
    if rank is None:
        return shape.parameters
    copies = shape.embedding * (1 if shape.tied else 2) if embeddings else 0
    return shape.layers * sum(rank * (one.rows + one.columns) for one in shape.matrices) + copies


def peak(shape: Shape, group: int, run: Run) -> Peak:
    """The parts of the memory at the peak of a training step, on one GPU."""
    always = static(shape, group, run)
    phases = [loss(shape, run), layer(shape, run), step(shape, run)]
    terms = (*always, *max(phases, key=total))
    logits = shape.vocabulary * run.width * (0 if run.stack.tile else 1)
    least, expected, most = run.stack.logits
    with_loss = total(always) + total(phases[0]) - logits * expected
    others = total(always) + max(map(total, phases[1:]))
    low = max(with_loss + logits * least, others) - SLACK.expected + SLACK.low
    worst = max(with_loss + logits * most, others) - SLACK.expected + SLACK.worst
    return Peak(tuple(one for one in terms if one.bytes), low * (1 - SURE), worst * (1 + SURE))


def static(shape: Shape, group: int, run: Run) -> tuple[Term, ...]:
    """What lies there from the first step to the last."""
    count, shards = trainable(shape, run.rank, run.embeddings), run.shards
    other, upcast = embedding_bytes(shape, run.quantised), 2 * shape.unquantised if run.upcast else 0
    linear, name = linear_bytes(shape, run.quantised, group), run.quantised.name
    inputs = "kept by checkpointing" if run.checkpointing else "all activations: no checkpointing"
    return (
        Term("weights", linear / shards, f"{shape.linear / 1e9:.2f}B in {name}"),
        Term("embedding, head, norms", other / shards, "never quantised"),
        Term("their fp32 copy", upcast / shards, "prepare_model_for_kbit_training"),
        *trained(count, run),
        Term("inputs of every layer", kept(shape, run), inputs),
        Term("reduction buckets", run.stack.buffers, "two of 2e8 elements"),
        Term("allocator and workspaces", SLACK.expected + WORKSPACE, "fitted"),
        Term("gathered layers", gathered(shape, run), "two layers whole at a time, ZeRO-3"),
    )  # fmt: skip


def trained(count: int, run: Run) -> tuple[Term, ...]:
    """Trainable weights, their gradients, and what the optimiser keeps for each."""
    states = OPTIMISERS[run.optimiser]
    if run.rank is None:  # the weights themselves are the model's, and counted there
        states = FULL_STATES * 2 if run.optimiser == "adamw" else states
        return (
            Term("gradients", HALF * count / run.shards, "of every weight, bf16"),
            Term("optimiser", states * count / run.shards, f"{run.optimiser}, bf16 states"),
        )
    return (
        Term("adapters", run.element * count / run.shards, f"LoRA rank {run.rank}, {count / 1e6:.0f}M weights"),
        Term("gradients", run.element * count / run.shards, "of the adapters"),
        Term("optimiser", (states + run.stack.master) * count / run.shards, run.optimiser),
    )


def kept(shape: Shape, run: Run) -> float:
    """Bytes of activations that wait for the backward pass while the loss is computed."""
    one = (4 if run.upcast else HALF) * shape.hidden if run.checkpointing else activations(shape, run)
    scores = 0 if run.checkpointing else attention_scores(shape, run) * shape.layers
    return shape.layers * one * run.width + scores


def activations(shape: Shape, run: Run) -> float:
    """Bytes a token that one layer keeps for its backward pass, as autograd was seen to save them.

    Each norm keeps its fp32 input; gate, its activation, up and the product stay, as do queries, keys, values and the
    output of attention. Adapters keep their input: shared with the layer's in bf16; a bf16 copy for each where the
    adapter is fp32 and the input is cast; with dropout the dropped input for each, and a byte of its mask.
    """
    states = 4 * shape.norms_per_layer * shape.hidden + 6 * shape.intermediate
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    states += 4 * queries + 4 * keys + (4 * queries + 4 * keys if shape.kind == "qwen3" else 0)
    return states + sum(adapter_inputs(shape.matrices, run))


def adapter_inputs(matrices: tuple[Matrix, ...], run: Run) -> list[float]:
    """Bytes a token for the inputs of a layer's matrices; q, k, v share theirs, and so do gate and up."""
    if run.rank is not None and run.stack.dropout:
        return [(HALF + 1) * one.columns for one in matrices]
    if run.rank is not None and (run.element > HALF or run.upcast):
        return [HALF * one.columns for one in matrices]
    return [HALF * one.columns for one in matrices if one.name in ("q", "qkv", "gate", "down")]  # o: attention's own


def loss(shape: Shape, run: Run) -> tuple[Term, ...]:
    """The loss: logits of the whole vocabulary and their gradients, or a tile of them."""
    if run.stack.tile:
        tile = HALF * min(run.width, TILE_TOKENS) * min(shape.vocabulary, TILE_WORDS)
        return (
            Term("a tile of the logits", tile + 4 * shape.hidden * run.width, "and the fp32 gradient of its input"),
        )
    capped = 2 * HALF if shape.softcap else 0  # what tanh gave, and a gradient more
    size = (run.stack.logits.expected + capped) * shape.vocabulary * run.width
    return (
        Term("logits of the whole vocabulary", size, f"{shape.vocabulary} words: softmax and gradients"),
        Term("the head in 16 bits", HALF * shape.embedding if run.upcast else 0, "autocast of its fp32 copy"),
    )


def layer(shape: Shape, run: Run) -> tuple[Term, ...]:
    """One layer in its backward pass: its activations made again, their gradients, and its weights in 16 bits."""
    per_token = 6 * shape.intermediate + 4 * shape.hidden + (activations(shape, run) if run.checkpointing else 0)
    scores = attention_scores(shape, run) if run.checkpointing else 0
    return (
        Term("one layer's activations", per_token * run.width + scores, "made again in its backward pass"),
        Term("its weights in 16 bits", dequantised(shape, run.quantised), "dequantised to multiply"),
    )


def attention_scores(shape: Shape, run: Run) -> float:
    """Bytes of one layer's attention scores, where attention is not fused."""
    return SCORES * shape.heads * run.tokens * run.width if shape.softcap else 0


def dequantised(shape: Shape, quantised: Quantisation) -> float:
    """Bytes of dequantised weights: bitsandbytes makes one matrix, and GPTQ's PyTorch code keeps all of a layer.

    GPTQ multiplies by a weight that it makes with torch operations, so autograd keeps it until the layer's backward.
    """
    if not quantised.dequantised:
        return 0
    if quantised.name.startswith("gptq"):
        return HALF * sum(one.size for one in shape.matrices) + UNPACK * largest(shape)
    return HALF * largest(shape)


def step(shape: Shape, run: Run) -> tuple[Term, ...]:
    """What only the optimiser's step needs; the activations are gone by then, but their blocks stay reserved."""
    return (
        Term(
            "the optimiser's step",
            run.stack.step * trainable(shape, run.rank, run.embeddings) / run.shards,
            "fp32 gradients",
        ),
    )


def gathered(shape: Shape, run: Run) -> float:
    """Bytes of the two layers that ZeRO-3 gathers at a time; nothing on one GPU."""
    return 2 * HALF * sum(one.size for one in shape.matrices) if run.shards > 1 else 0
