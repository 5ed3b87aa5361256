"""The training stacks that are planned for, and what each allocates: read from their sources, not guessed.

A stack decides more than the model does: whether the logits of the whole vocabulary exist, in which precision the
adapters and the loss are kept, and which buffers are there before the first token.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from .ranges import Range
from .shape import Unplanned

GB = 10**9
# What a process holds beyond the tensors that are counted: blocks of the caching allocator that are free and cannot
# be used again, workspaces, compiled kernels. Fitted: the one additive constant of the training plan, the same for
# every model, stack and length (benchmarks/fit.py says on which rows). The driver's own context is not in it.
SLACK = Range(1.0 * GB, 1.7 * GB, 2.2 * GB)


class Stack(NamedTuple):
    """What one way to train allocates. Bytes are for each element; `logits` for each logit of the whole vocabulary."""

    name: str
    why: str
    adapter: int  # bytes of a trainable weight, and as many of its gradient
    adapter_quantised: int  # the same where the base is quantised
    master: int  # an fp32 copy of each trainable weight
    step: int  # bytes of each trainable weight that only the optimiser's step needs
    logits: Range
    tile: bool  # the logits are made tile by tile, and never exist as a whole
    upcasts: bool  # prepare_model_for_kbit_training: what is not quantised becomes fp32
    dropout: bool  # on the inputs of the adapters
    buffers: float  # bytes that are there whatever the model


STACKS: Mapping[str, Stack] = {
    one.name: one
    for one in (
        # transformers' Trainer with PEFT under autocast. In the backward pass the log-softmax, its gradient and the
        # gradient of the logits live at once, 4 bytes each: 12. The freed 16-bit copies cannot hold those, which adds
        # 2 (transformers 5) to 4 (a second, shifted copy); one of them on average, since both are used again later.
        Stack("trainer", "transformers.Trainer and PEFT, bf16 autocast, the logits of all tokens at once",
              4, 4, 0, 0, Range(12, 13, 16), False, True, True, 0),
        # trl 1.16: trl.trainer.utils.add_fused_lm_head; adapters become bf16 where the base is quantised.
        Stack("trl", "trl's SFTTrainer, whose loss makes the logits tile by tile",
              4, 2, 0, 0, Range(0, 0, 0), True, False, False, 0),
        # The recipe published with first-generation Qwen: ZeRO-2 in fp16 without autocast, so that log-softmax and
        # gradients stay 16-bit; two reduction buckets of 2e8 elements (overlap_comm); fp32 gradients in the step.
        Stack("deepspeed-fp16", "GPTQ base in fp16 under DeepSpeed ZeRO-2, as Qwen's own recipe",
              2, 2, 4, 4, Range(6, 8, 8), False, False, True, 2 * 2e8 * 2),
    )
}  # fmt: skip

TILE_TOKENS, TILE_WORDS = 4096, 32768  # trl 1.16: TOKEN_CHUNK_SIZE, _CHUNKED_LOGPROB_CHUNK_SIZE

# Bytes of optimiser state for each trainable weight; bitsandbytes' 8 bits add an fp32 absmax for 256 of them.
OPTIMISERS: Mapping[str, float] = {
    "adamw": 8,
    "adamw-8bit": 2 + 8 / 256,
    "paged-adamw-8bit": 2 + 8 / 256,  # may move to the host when the GPU is full; counted as if it did not
    "sgd": 0,
}


def stack(name: str) -> Stack:
    return STACKS[_choose("stack", name, STACKS)]


def optimiser(name: str) -> str:
    return _choose("optimiser", name.lower().replace("_", "-"), OPTIMISERS)


def _choose(what: str, name: str, known: Mapping[str, object]) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise Unplanned(f"{what}: there is no {name!r}; {hint}")
