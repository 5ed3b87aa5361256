"""Bytes of a model's weights under each quantisation, matrix by matrix.

Every quantisation here shrinks the linear layers of the decoder alone. Embedding, head, norms and biases keep 16 bits:
transformers keeps the output embedding and what is tied to it (quantizers/base.py, get_keys_to_not_convert), and none
of the libraries converts an nn.Embedding or a norm. In a vocabulary of 150,000 that is a fifth of a 7B in 4 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .shape import Matrix, Shape, Unplanned

HALF = 2  # bytes of a weight in bf16 or fp16
MIB = 1 << 20
GROUP = 128  # inputs that share a scale in the published GPTQ and AWQ checkpoints
NF4_BLOCK = 64  # weights that share an absmax in bitsandbytes' 4 bits
NESTED_BLOCK = 256  # absmax values that share a second absmax, with double quantisation
FP8_BLOCK = 128  # rows and columns that share a scale in the published fp8 checkpoints


class Quantisation(NamedTuple):
    """How the linear layers are kept: bytes of one matrix, and what using it needs besides."""

    name: str
    matrix: Callable[[Matrix, int], float]  # (matrix, group) -> bytes
    dequantised: bool = False  # one matrix at a time is put back into 16 bits to be multiplied
    upcast: bool = False  # prepare_model_for_kbit_training puts all that is not quantised into fp32
    copies_head: bool = False  # its loader was seen to hold a tied head twice until the weights are tied
    bits: int = 16


def _plain(element: int) -> Callable[[Matrix, int], float]:
    return lambda matrix, group: matrix.size * element


def _grouped(bits: int, index: bool) -> Callable[[Matrix, int], float]:
    """Packed weights, an fp16 scale and a packed zero a group and output; GPTQ adds an int32 index an input."""

    def size(matrix: Matrix, group: int) -> float:
        groups = matrix.rows * -(-matrix.columns // group)
        return matrix.size * bits / 8 + groups * (HALF + bits / 8) + (4 * matrix.columns if index else 0)

    return size


def _nf4(nested: bool) -> Callable[[Matrix, int], float]:
    """4 bits a weight and an absmax a block: fp32, or 8 bits with an fp32 absmax of its own."""

    def size(matrix: Matrix, group: int) -> float:
        blocks = matrix.size / NF4_BLOCK
        return matrix.size / 2 + (blocks + 4 * blocks / NESTED_BLOCK if nested else 4 * blocks)

    return size


QUANTISATIONS: Mapping[str, Quantisation] = {
    one.name: one
    for one in (
        Quantisation("fp32", _plain(4), bits=32),
        Quantisation("bf16", _plain(2)),
        Quantisation("fp16", _plain(2)),
        Quantisation("fp8", lambda matrix, group: matrix.size * (1 + 4 / FP8_BLOCK**2), bits=8),
        # bitsandbytes: int8 with an fp32 scale an output row; 4 bits without and with double quantisation.
        Quantisation("int8", lambda matrix, group: matrix.size + 4 * matrix.rows, True, True, bits=8),
        Quantisation("nf4-single", _nf4(False), True, True, bits=4),
        Quantisation("nf4", _nf4(True), True, True, bits=4),
        Quantisation("gptq-int8", _grouped(8, True), True, bits=8),
        Quantisation("gptq-int4", _grouped(4, True), True, bits=4),
        Quantisation("awq", _grouped(4, False), True, True, copies_head=True, bits=4),
    )
}
# What people and model cards call them.
_ALSO = {
    "float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "none": "bf16", "8bit": "int8", "llm.int8": "int8",
    "bnb-8bit": "int8", "4bit": "nf4", "bnb-4bit": "nf4", "nf4-dq": "nf4", "nf4-double": "nf4", "int4": "gptq-int4",
    "gptq": "gptq-int4", "gptq-4bit": "gptq-int4", "gptq-8bit": "gptq-int8", "awq-int4": "awq",
}  # fmt: skip


def quantisation(name: str) -> Quantisation:
    """The quantisation of that name, in any case and with `_` for `-`; raises Unplanned."""
    import difflib

    wanted = name.lower().replace("_", "-")
    wanted = _ALSO.get(wanted, wanted)
    if wanted in QUANTISATIONS:
        return QUANTISATIONS[wanted]
    near = difflib.get_close_matches(wanted, [*QUANTISATIONS, *_ALSO], 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(QUANTISATIONS)}"
    raise Unplanned(f"quantisation: there is no {name!r}; {hint}")


def stated(config: Mapping[str, Any], where: str) -> tuple[str | None, int]:
    """(quantisation, group) that a checkpoint's own config.json states, None where it is not quantised."""
    said = config.get("quantization_config")
    if not said:
        return None, GROUP
    method, bits = said.get("quant_method"), said.get("bits", 4)
    group = said.get("group_size") or GROUP
    names = {("gptq", 4): "gptq-int4", ("gptq", 8): "gptq-int8", ("awq", 4): "awq", ("fp8", 4): "fp8"}
    if method == "bitsandbytes":
        nested = said.get("bnb_4bit_use_double_quant")
        return ("nf4" if nested else "nf4-single") if said.get("load_in_4bit") else "int8", GROUP
    if (method, bits) not in names or not isinstance(group, int):
        raise Unplanned(f"{where}: quantization_config {method!r} with {bits} bits is not known here, and not guessed")
    return names[method, bits], group if group > 0 else 1 << 30  # -1: one group over all inputs


def linear_bytes(shape: Shape, quantised: Quantisation, group: int = GROUP) -> float:
    """Bytes of all linear layers, as the caching allocator hands them out."""
    return shape.layers * sum(held(quantised.matrix(one, group)) for one in shape.matrices)


def other_bytes(shape: Shape, quantised: Quantisation, element: int = HALF) -> float:
    """Bytes of embedding, head, norms and biases, `element` bytes each; fp32 models keep 4."""
    return shape.unquantised * (4 if quantised.name == "fp32" else element)


def held(size: float) -> float:
    """Bytes that PyTorch's caching allocator counts for one weight of `size` bytes.

    From 10 MiB on it asks the driver for whole pairs of MiB, and splits off what is left only if that is more than
    1 MiB (c10/cuda/CUDACachingAllocator: kMinLargeAlloc, kRoundLarge, kLargeBuffer); else the weight keeps all of it.
    """
    if size < 10 * MIB:
        return size
    left = -size % (2 * MIB)
    return size + (left if left <= MIB else 0)


def largest(shape: Shape) -> int:
    """Weights of the largest matrix, which a quantised layer puts back into 16 bits to multiply."""
    return max(one.size for one in shape.matrices)
