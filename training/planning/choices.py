"""What to change when a plan does not fit, the cheapest first, and what fits a GPU at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .cards import Card
from .catalogue import models
from .shape import Unplanned

if TYPE_CHECKING:
    from training.fit import Plan, Settings

    Planner = Callable[..., Plan]

BATCHES = (16, 8, 4, 2, 1)  # past 16 a GPU that trains LoRA is busy anyway
LENGTHS = tuple(1 << power for power in range(17, 7, -1))  # 131072 down to 256 tokens
SHORTEST = 256  # tokens: below this, answers are cut
ENOUGH = 0.95  # of the bytes without a change: a change that saves less than a twentieth is not named


class Remedy(NamedTuple):
    """Changes that make a plan fit (or save the most), what they cost, and the plan with them."""

    changes: Mapping[str, Any]
    text: str
    plan: Plan


def remedies(wanted: Settings) -> Iterator[tuple[dict[str, Any], str]]:
    """(changes, what they are and cost), the cheapest first: what costs nothing, then time, then quality."""
    if wanted.method == "inference":
        yield from for_inference(wanted)
        return
    if wanted.stack == "trainer":
        yield {"stack": "trl"}, "a loss that never makes all logits (trl's SFTTrainer): free"
    batch = wanted.batch
    while batch > 1:
        batch = -(-batch // 2)
        yield {"batch": batch}, f"micro-batch {batch}, accumulated to the same batch: a little slower"
    if wanted.optimiser == "adamw":
        yield {"optimiser": "paged-adamw-8bit"}, "an 8-bit paged optimiser: hardly slower"
    if not wanted.checkpointing:
        yield {"checkpointing": True}, "gradient checkpointing: a third to a half slower"
    if wanted.method == "full":
        yield {"method": "lora", "quantisation": "bf16"}, "LoRA instead of all weights: learns less"
    if wanted.method in ("full", "lora"):
        yield {"method": "qlora", "quantisation": "nf4"}, "QLoRA: the base in 4 bits, about half as fast"
    seq = wanted.seq
    while seq // 2 >= SHORTEST:
        seq //= 2
        yield {"seq": seq}, f"sequences of {seq} tokens: longer ones are cut"


def for_inference(wanted: Settings) -> Iterator[tuple[dict[str, Any], str]]:
    if not wanted.prefill_chunk or wanted.prefill_chunk > 1024:
        yield {"prefill_chunk": 1024}, "the prompt read 1024 tokens at a time (prefill_chunk_size): a little slower"
    if wanted.every_logit:
        yield {"every_logit": False}, "only the last token's logits (logits_to_keep=1): free"
    batch = wanted.batch
    while batch > 1:
        batch = -(-batch // 2)
        yield {"batch": batch}, f"{batch} sequences at once: slower"
    if wanted.quantisation in ("fp32", "bf16", "fp16"):
        yield {"quantisation": "int8"}, "8 bits a weight (bitsandbytes): slower, hardly worse"
    if wanted.quantisation != "nf4":
        yield {"quantisation": "nf4"}, "4 bits a weight (NF4): slower, a little worse"


def remedy(plan: Planner, config: Mapping[str, Any], made: Plan, **more: Any) -> Remedy | None:
    """The cheapest single change by which a plan fits at worst, else the cheapest of several; None if it fits.

    Where nothing fits, all changes together are returned: their plan says what is still missing.
    """
    if made.verdict in (None, "fits"):
        return None
    settings = made.settings._asdict()
    offered = list(remedies(made.settings))
    for change, text in offered:
        tried = plan(config, gpu=made.card, model=made.model, **more, **{**settings, **adapted(change)})
        if tried.verdict == "fits":
            return Remedy(change, text, tried)
    changes: dict[str, Any] = {}
    texts: dict[str, str] = {}
    best = made
    for change, text in offered:
        tried = plan(config, gpu=made.card, model=made.model, **more, **{**settings, **adapted({**changes, **change})})
        if tried.device.expected > best.device.expected * ENOUGH and tried.verdict != "fits":
            continue
        changes, best = {**changes, **change}, tried
        texts.update(dict.fromkeys(change, text))
        if tried.verdict == "fits":
            break
    return Remedy(changes, "; ".join(dict.fromkeys(texts.values())), best) if changes else None


def adapted(change: Mapping[str, Any]) -> dict[str, Any]:
    """A change of the quantisation lets the stack be chosen anew: the one for GPTQ trains nothing else."""
    return {**change, "stack": None} if "quantisation" in change and "stack" not in change else dict(change)


class Choice(NamedTuple):
    """A base that fits: how it is kept, the largest micro-batch at the wished length, and the longest sequence."""

    model: str
    quantisation: str
    batch: int
    longest: int
    plan: Plan


def choices(plan: Planner, card: Card, **settings: Any) -> list[Choice]:
    """Every known base that fits `card` at worst, the largest first, in the least lossy quantisation that fits."""
    found = []
    for name, entry in models().items():
        for quantised in quantisations(settings.get("method", "qlora"), settings.get("quantisation")):
            if choice := chosen(plan, name, entry["config"], card, {**settings, "quantisation": quantised}):
                found.append(choice)
                break
    return sorted(found, key=lambda one: -one.plan.parameters)


def quantisations(method: str, asked: str | None) -> tuple[str, ...]:
    """What is tried for a base, the least lossy first."""
    if asked:
        return (asked,)
    return {"inference": ("bf16", "gptq-int8", "awq"), "qlora": ("nf4",)}.get(method, ("bf16",))


def chosen(plan: Planner, name: str, config: Mapping[str, Any], card: Card, settings: dict[str, Any]) -> Choice | None:
    length = "prompt" if settings.get("method") == "inference" else "seq"

    def fits(**change: Any) -> Plan | None:
        made = plan(config, model=name, gpu=card, **{**settings, **change})
        return made if made.verdict == "fits" else None

    if not (least := fits(batch=1)):
        return None
    batch, made = next((size, found) for size in BATCHES if (found := fits(batch=size)))
    longest = next((size for size in LENGTHS if fits(**{"batch": 1, length: size})), getattr(least.settings, length))
    return Choice(name, str(made.settings.quantisation), batch, longest, made)


def nothing(card: Card, method: str) -> Unplanned:
    """What to say where no known base fits."""
    return Unplanned(f"{card.name}: no base known here fits for {method}; try --method qlora, or a shorter --seq")
