"""The peak of transformers' generate(): the greatest of loading, reading the prompt, and the last token.

Checked against the installed transformers by tests/test_fit.py, which counts the live bytes of its real layers.
"""

from __future__ import annotations

from typing import NamedTuple

from .ranges import Peak, Term
from .shape import Shape
from .weights import HALF, MIB, Quantisation, held, largest, linear_bytes, other_bytes

# cuBLAS keeps a workspace for each handle: 32 MiB on Hopper and later, 8 MiB before (torch.cuda.Context, and
# CUBLAS_WORKSPACE_CONFIG in PyTorch's notes). The larger one, since 24 MiB matter to no plan.
WORKSPACE = 32 * MIB
SCORES = 10  # bytes of one attention score where attention is not fused: bf16 copies, the softmax in fp32
SURE = 0.03  # of all: names in the config say nothing about padding, tokenizer state, sampling


class Use(NamedTuple):
    """How a model is used: tokens of each prompt, new tokens, sequences at once."""

    prompt: int
    new: int
    batch: int = 1
    chunk: int | None = None  # tokens of the prompt that are read at once (prefill_chunk_size); None: all
    parts: int = 1  # GPUs that the layers are spread over, as device_map="auto" does
    every_logit: bool = False  # logits of all prompt tokens: a bare forward(), and generate() before transformers 4.45


def peak(shape: Shape, quantised: Quantisation, group: int, use: Use) -> Peak:
    """The parts of the memory at the peak of generate()."""
    linear = linear_bytes(shape, quantised, group) / use.parts
    weights = (
        Term("weights", linear, f"{shape.linear / 1e9:.2f}B in {quantised.name}"),
        Term("embedding, head, norms", embedding_bytes(shape, quantised) / use.parts, "never quantised"),
    )
    fixed = (*weights, Term("workspace", WORKSPACE, "cuBLAS"))
    loading = (*weights, Term("a second copy of the head", loading_copy(shape, quantised), "until it is tied"))
    phases = [loading, (*fixed, *reading(shape, quantised, use)), (*fixed, *answering(shape, use))]
    terms = max(phases, key=total)
    whole = use._replace(chunk=None)
    low = total((*fixed, *answering(shape, use)))
    worst = max(total((*fixed, *reading(shape, quantised, whole))), total(terms)) + repeated(shape, use)
    return Peak(tuple(one for one in terms if one.bytes), low * (1 - SURE), worst * (1 + SURE))


def total(terms: tuple[Term, ...]) -> float:
    return sum(one.bytes for one in terms)


def embedding_bytes(shape: Shape, quantised: Quantisation) -> float:
    """Embedding and head as the allocator hands them out, with the norms and biases."""
    matrices = 1 if shape.tied else 2
    element = 4 if quantised.name == "fp32" else HALF
    waste = held(shape.embedding * element) - shape.embedding * element
    return other_bytes(shape, quantised) + matrices * waste


def loading_copy(shape: Shape, quantised: Quantisation) -> float:
    """Bytes of a tied head before it is tied: seen in published figures of AWQ, for prompts of one token."""
    return shape.embedding * HALF if shape.tied and quantised.copies_head else 0


def reading(shape: Shape, quantised: Quantisation, use: Use) -> tuple[Term, ...]:
    """What reading the prompt needs: its keys and values, and one layer's activations for all its tokens."""
    tokens = use.batch * min(use.prompt, use.chunk or use.prompt)
    integers = 4 * shape.intermediate if quantised.name == "int8" else 0  # products before they are scaled
    per_token = max(mlp_bytes(shape), attention_bytes(shape)) + integers
    scores = SCORES * shape.heads * use.prompt * tokens if shape.softcap else 0
    dequantised = HALF * largest(shape) if quantised.dequantised else 0
    logits = (2 + 4) * shape.vocabulary * (tokens if use.every_logit else use.batch)
    return (
        Term("KV cache", use.batch * shape.kv_bytes(use.prompt) / use.parts, f"{use.prompt} tokens"),
        Term("activations of the prompt", max(per_token * tokens, logits), "one layer, all tokens read at once"),
        Term("attention scores", scores, "not fused, since the logits of attention are capped"),
        Term("one matrix in 16 bits", dequantised, "to multiply a quantised one"),
    )


def mlp_bytes(shape: Shape) -> int:
    """Bytes a token holds at the product of gate and up: three of those, and four hidden states.

    The four are the embedding's output and the layer's input, which the frames of the callers still name, the
    residual, and the normed input. Then cosine and sine of the position, its id and its token.
    """
    return 3 * HALF * shape.intermediate + 4 * HALF * shape.hidden + 2 * HALF * shape.head_dim + 8


def attention_bytes(shape: Shape) -> int:
    """Bytes a token holds in attention: queries before and after rotation, the output, keys, values, three states."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return 4 * HALF * queries + 2 * HALF * keys + 3 * HALF * shape.hidden


def answering(shape: Shape, use: Use) -> tuple[Term, ...]:
    """What the last new token needs: the whole cache, and the copy of one layer's keys by which it grows."""
    tokens = use.prompt + use.new
    one = HALF * use.batch * shape.kv_heads * shape.head_dim * tokens
    return (
        Term("KV cache", use.batch * shape.kv_bytes(tokens) / use.parts, f"{tokens} tokens, {shape.kv_heads} KV heads"),
        Term("a growing layer of the cache", one, "torch.cat copies before it frees"),
    )


def repeated(shape: Shape, use: Use) -> float:
    """Bytes of keys and values repeated for every query head, as attention without grouped queries does."""
    if shape.heads == shape.kv_heads:
        return 0
    return 2 * HALF * use.batch * shape.heads * shape.head_dim * (use.prompt + use.new)
