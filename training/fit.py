"""Say what a model needs of a GPU before one is held: memory, minutes and dollars, from its config.json alone.

    from training.fit import plan
    plan({"model_type": "qwen3", …}, method="qlora", rank=32, seq=2048, gpu="24GB").memory.expected    # bytes

`bin/fit` is the same for people. No torch, no network: a plan takes about a millisecond. `memory` is what PyTorch
allocates at its peak, as torch.cuda.max_memory_allocated and the published tables count it; `device` adds the
driver's context, and is what must fit. An architecture that is not known is refused (Unplanned), not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from training.planning import finetuning, inference
from training.planning.cards import CONTEXT, STREAMED, USED, Card, card, seconds
from training.planning.ranges import Peak, Range, Term
from training.planning.shape import Shape, Unplanned, read
from training.planning.stacks import optimiser, stack
from training.planning.weights import Quantisation, quantisation, stated

METHODS = ("inference", "lora", "qlora", "full")
RANK = 16  # enough for thousands of rows (LoRA, Hu et al. 2021); training/sft.py takes the same
TOKENS = 1_000_000  # what minutes are told for where nobody says how many tokens are trained on


class Settings(NamedTuple):
    """What is planned: how a model is kept and used. Lengths are tokens; `gpus` share layers or, with zero3, all."""

    method: str = "qlora"
    quantisation: str | None = None  # None: what the config states, else bf16, and nf4 for qlora
    rank: int = RANK
    seq: int = 2048
    batch: int = 1  # the micro-batch: sequences at once
    checkpointing: bool = True
    embeddings: bool = False  # train embedding and head beside the adapters
    stack: str | None = None  # None: deepspeed-fp16 for a GPTQ base, else trainer
    optimiser: str = "adamw"
    prompt: int = 2048
    new: int = 512
    prefill_chunk: int | None = None
    every_logit: bool = False
    gpus: int = 1
    zero3: bool = False


class Plan(NamedTuple):
    """What a model needs. Bytes are for one GPU, the fullest; minutes and dollars for all `tokens`."""

    model: str
    settings: Settings  # with every default filled in
    parameters: int
    trainable: int
    memory: Range
    context: float
    terms: tuple[Term, ...]  # the parts of memory.expected, the greatest first
    card: Card | None
    flops_per_token: float
    tokens: int
    minutes: Range | None
    dollars: Range | None

    @property
    def device(self) -> Range:
        """Bytes that the GPU must have."""
        return Range(*(one + self.context for one in self.memory))

    @property
    def verdict(self) -> str | None:
        """`fits` (at worst, too), `tight` (expected to fit, not at worst) or `no`; None without a GPU."""
        if self.card is None:
            return None
        size = self.card.bytes
        return "fits" if self.device.worst <= size else "tight" if self.device.expected <= size else "no"


def plan(
    config: Mapping[str, Any],
    *,
    model: str = "config.json",
    gpu: str | Card | None = None,
    tokens: int | None = None,
    usd_per_hour: float | None = None,
    **settings: Any,
) -> Plan:
    """The plan for a config.json as a mapping; `settings` are those of Settings. Raises Unplanned, in one line."""
    if strange := settings.keys() - set(Settings._fields):
        raise Unplanned(f"plan: there is no setting {min(strange)!r}; there are {', '.join(Settings._fields)}")
    shape = read(config, model)
    wanted, quantised, group = resolved(config, Settings(**settings), model)
    where = card(gpu) if isinstance(gpu, str) else gpu
    peak, trainable = peak_of(shape, quantised, group, wanted)
    tokens = tokens or (TOKENS if wanted.method != "inference" else wanted.batch * (wanted.prompt + wanted.new))
    minutes = minutes_of(shape, quantised, wanted, where, tokens)
    hours = minutes * (wanted.gpus / 60) if minutes else None
    return Plan(
        model, wanted, shape.parameters, trainable, peak.range, CONTEXT,
        tuple(sorted(peak.terms, key=lambda term: -term.bytes)), where, flops(shape, wanted), tokens, minutes,
        hours * usd_per_hour if hours and usd_per_hour is not None else None,
    )  # fmt: skip


def resolved(config: Mapping[str, Any], wanted: Settings, where: str) -> tuple[Settings, Quantisation, int]:
    """(settings with every default filled in, quantisation, its group); raises Unplanned where they contradict."""
    if wanted.method not in METHODS:
        raise Unplanned(f"method: there is no {wanted.method!r}; there are {', '.join(METHODS)}")
    for name in ("rank", "seq", "batch", "prompt", "gpus"):
        if getattr(wanted, name) < 1:
            raise Unplanned(f"{name}: is {getattr(wanted, name)}; give 1 or more")
    said, group = stated(config, where)
    default = said or ("nf4" if wanted.method == "qlora" else "bf16")
    quantised = quantisation(wanted.quantisation or default)
    if wanted.method == "qlora" and quantised.bits >= 16:
        raise Unplanned(f"quantisation: {quantised.name} is none, and qlora needs one; take --method lora")
    if wanted.method == "full" and quantised.bits < 16:
        raise Unplanned(f"quantisation: weights in {quantised.name} cannot be trained; take --method qlora")
    kind = wanted.stack or ("deepspeed-fp16" if quantised.name.startswith("gptq") else "trainer")
    filled = wanted._replace(quantisation=quantised.name, stack=stack(kind).name, optimiser=optimiser(wanted.optimiser))
    return filled, quantised, group


def peak_of(shape: Shape, quantised: Quantisation, group: int, wanted: Settings) -> tuple[Peak, int]:
    """(the peak of one GPU, weights that are trained)."""
    if wanted.method == "inference":
        use = inference.Use(
            wanted.prompt, wanted.new, wanted.batch, wanted.prefill_chunk, wanted.gpus, wanted.every_logit
        )
        return inference.peak(shape, quantised, group, use), 0
    rank = None if wanted.method == "full" else wanted.rank
    run = finetuning.Run(
        wanted.seq, wanted.batch, rank, stack(str(wanted.stack)), wanted.optimiser, wanted.checkpointing, quantised,
        wanted.gpus if wanted.zero3 else 1, wanted.embeddings,
    )  # fmt: skip
    return finetuning.peak(shape, group, run), finetuning.trainable(shape, rank, wanted.embeddings)


def flops(shape: Shape, wanted: Settings) -> float:
    """FLOPs for each token: two a weight that multiplies, two a score and its value (half are causal), in each pass.

    Training is a forward pass and one for the gradients of the inputs, one more for those of all weights where all are
    trained, and one more to make the activations again.
    """
    length = wanted.seq if wanted.method != "inference" else wanted.prompt
    forward = 2 * (shape.linear + shape.embedding) + 2 * shape.layers * shape.heads * shape.head_dim * length
    passes = {"inference": 1, "full": 3}.get(wanted.method, 2)
    return forward * (passes + (wanted.checkpointing and wanted.method != "inference"))


def minutes_of(
    shape: Shape, quantised: Quantisation, wanted: Settings, where: Card | None, tokens: int
) -> Range | None:
    """Minutes for all tokens, from the shares of a GPU's peak that cards.py states; None where the GPU is unknown."""
    if where is None or where.flops is None or where.bandwidth is None:
        return None
    used = USED["quantised" if quantised.bits < 16 else "plain"]
    shared = 1 if wanted.method == "inference" else wanted.gpus  # layers of one sequence wait for each other
    took = seconds(tokens * flops(shape, wanted) / shared, where.flops, used)
    if wanted.method == "inference":
        weights = sum(quantised.matrix(one, 128) for one in shape.matrices) * shape.layers + 2 * shape.embedding
        turns = tokens / (wanted.batch * (wanted.prompt + wanted.new)) * wanted.new
        cache = wanted.batch * shape.kv_bytes(wanted.prompt + wanted.new // 2)
        streamed = seconds(turns * (weights + cache), where.bandwidth, STREAMED)
        took = Range(*(one + other for one, other in zip(took, streamed, strict=True)))
    return took * (1 / 60)
