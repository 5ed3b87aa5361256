"""A memory plan as a document, and as lines for people."""

from __future__ import annotations

import _start

from collections.abc import Iterator, Sequence
from typing import Any

from _tell import table
from training.fit import Plan
from training.planning.cards import STREAMED, USED, Card
from training.planning.choices import Choice, Remedy
from training.planning.ranges import Range
from training.planning.weights import QUANTISATIONS

GB = 1e9
SHOWN = 3  # terms, the greatest
VERDICTS = {"fits": "fits", "tight": "is expected to fit, but not at worst", "no": "does not fit"}


def as_document(made: Plan, cure: Remedy | None) -> dict[str, Any]:
    """A plan as plain data: bytes, minutes and dollars as {low, expected, worst}, null where not known."""
    terms = [{"name": term.name, "bytes": round(term.bytes), "of": term.of} for term in made.terms]
    return {
        "model": made.model,
        "settings": made.settings._asdict(),
        "parameters": made.parameters,
        "trainable": made.trainable,
        "memory": whole(made.memory),
        "context": round(made.context),
        "device": whole(made.device),
        "terms": terms,
        "largest": [term["name"] for term in terms[:SHOWN]],
        "gpu": made.card._asdict() if made.card else None,
        "verdict": made.verdict,
        "remedy": {"changes": dict(cure.changes), "text": cure.text, "device": whole(cure.plan.device),
                   "verdict": cure.plan.verdict} if cure else None,
        "flops_per_token": made.flops_per_token,
        "tokens": made.tokens,
        "minutes": named(made.minutes),
        "usd": named(made.dollars),
    }  # fmt: skip


def whole(found: Range) -> dict[str, int]:
    return {name: round(value) for name, value in found._asdict().items()}


def named(found: Range | None) -> dict[str, float] | None:
    return {name: round(value, 4) for name, value in found._asdict().items()} if found else None


def lines(made: Plan, cure: Remedy | None) -> Iterator[str]:
    """A plan as lines."""
    yield f"{made.model}, {about(made)}: {span(made.device)}"
    yield f"of that {made.context / GB:.1f} GB for the driver; {span(made.memory)} are what PyTorch allocates. Largest:"
    shown = made.terms[:SHOWN]
    yield from table([(f"{term.bytes / GB:.1f} GB", term.name, term.of) for term in shown], frozenset({0}))
    yield from verdict(made, cure)
    yield from time(made)


def about(made: Plan) -> str:
    """How the model is kept and used."""
    kept = made.settings
    if kept.method == "inference":
        read = f", read {kept.prefill_chunk} at a time" if kept.prefill_chunk else ""
        return f"inference in {kept.quantisation}, {kept.batch} × ({kept.prompt}{read} + {kept.new} new) tokens"
    rank = "" if kept.method == "full" else f", rank {kept.rank} ({made.trainable / 1e6:.0f}M weights)"
    saved = "" if kept.checkpointing else ", no checkpointing"
    return f"{kept.method} in {kept.quantisation}{rank}, {kept.batch} × {kept.seq} tokens{saved}, {kept.stack}"


def span(found: Range) -> str:
    low, expected, worst = (one / GB for one in found)
    return f"{expected:.1f} GB ({low:.1f} to {worst:.1f})"


def verdict(made: Plan, cure: Remedy | None) -> Iterator[str]:
    if made.card is None or made.verdict is None:
        yield "No GPU here, and none given: --gpu 24GB says whether it fits, and what to change."
        return
    yield f"{made.card.name} ({made.card.bytes / GB:.1f} GB): {VERDICTS[made.verdict]}."
    if cure:
        end = VERDICTS[str(cure.plan.verdict)]
        yield f"Cheapest remedy: {cure.text}. Then {span(cure.plan.device)}, which {end}."
    elif made.verdict != "fits":
        yield "No change here makes it fit: take a larger GPU, or a smaller model."


def time(made: Plan) -> Iterator[str]:
    """Minutes and dollars, with the share of the peak that they assume."""
    if made.minutes is None:
        if made.card:
            yield f"{made.card.name}: its speed is not known, so minutes are not told; name the card."
        return
    quantised = QUANTISATIONS[str(made.settings.quantisation)].bits < 16
    used = USED["quantised" if quantised else "plain"]
    streamed = (
        f", {STREAMED[0]:.0%} to {STREAMED[2]:.0%} of its bandwidth" if made.settings.method == "inference" else ""
    )
    low, expected, worst = made.minutes
    yield (
        f"{made.tokens:,} tokens: {expected:.1f} minutes ({low:.1f} to {worst:.1f}), "
        f"assuming {used[0]:.0%} to {used[2]:.0%} of the card's peak FLOP/s{streamed}; not measured."
    )
    if made.dollars:
        low, expected, worst = made.dollars
        yield f"${expected:.2f} (${low:.2f} to ${worst:.2f})"


def choice_lines(where: Card, found: Sequence[Choice]) -> Iterator[str]:
    """The bases that fit, as a table."""
    yield f"{where.name} ({where.bytes / GB:.1f} GB): bases that fit at worst, the largest first"
    rows = [(one.model, one.quantisation, str(one.batch), str(one.longest), span(one.plan.device)) for one in found]
    yield from table([("base", "kept in", "micro-batch", "longest at 1", "memory"), *rows], frozenset({2, 3}))
