"""Draw recommendations from a round's figures, by rules. Each names the one figure that it comes from.

A rule sees figures alone, never an exam text, and speaks only when its figure says so: a round in which nothing is to
be done has no recommendation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CARRIES = 0.05  # of the unseen facts: a smaller gain is the manner of an answer, not its content
GOOD_ENOUGH = 0.5  # of the taught facts answered rightly; below it, more training pays more than more facts
WEAK_TOPICS = 3  # as many as `improve` strengthens
MANY_DROPPED = 0.2  # of the examples made; a reason that costs more is worth a look
STILL_FALLING = 0.05  # relative fall of the loss over the last quarter of training: it had not settled
AFFORDABLE = 20  # times the items: where more would be needed to tell, the difference is too small to matter
BY_DESIGN = ("held-out", "spare-wording", "generated")  # left out to keep the exam apart: nothing to mend
VERDICT = "60-evaluate/verdict.json"


@dataclass(frozen=True)
class Figures:
    """What the rules may look at: the documents of one round, as they were written."""

    verdict: Mapping[str, Any]
    dataset: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    replies: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Recommendation:
    text: str
    because: str
    file: str
    key: str
    value: float | str
    topics: Sequence[str] = field(default=())

    def document(self, number: int) -> dict[str, Any]:
        figure = {"file": self.file, "key": self.key, "value": self.value}
        return {"number": number, "text": self.text, "because": self.because, "figure": figure,
                "topics": list(self.topics)}  # fmt: skip


def recommend(figures: Figures) -> list[Recommendation]:
    """All that the rules say, the most important first."""
    rules: Sequence[Callable[[Figures], list[Recommendation]]] = (
        taught, unseen, general, undecided, settled, weakest, dropped, failures
    )  # fmt: skip
    return [one for rule in rules for one in rule(figures)]


def from_slice(found: Mapping[str, Any], name: str, key: str, text: str, because: str) -> list[Recommendation]:
    return [Recommendation(text, because, VERDICT, f"slices.{name}.{key}", found[key])]


def taught(figures: Figures) -> list[Recommendation]:
    found = figures.verdict["slices"]["taught"]
    if found["verdict"] != "better":
        text = "Train longer or with a higher rank before adding data: what was taught has not been learned."
        because = f"On taught facts the specialist moved by {found['difference']:+.2f}: {found['verdict']}."
        return from_slice(found, "taught", "difference", text, because)
    if found["specialist"] < GOOD_ENOUGH:
        text = "Add epochs, or more wordings of each fact: much of what was taught is still missed."
        because = f"The specialist scores {found['specialist']:.2f} on facts that it was taught."
        return from_slice(found, "taught", "specialist", text, because)
    return []


def unseen(figures: Figures) -> list[Recommendation]:
    found = figures.verdict["slices"]["unseen"]
    if found["verdict"] == "better" and found["difference"] >= CARRIES:
        text = "Add facts from more sources: learning carries over to facts that were not taught."
    elif figures.verdict["slices"]["taught"]["verdict"] == "better":
        text = (
            "Rely on the specialist only for facts that it was taught: more facts of this sort do not carry over "
            "to others. A larger base, or looking things up in the sources, would be the next thing to try."
        )
    else:
        return []
    because = f"On facts that were not taught the specialist moved by {found['difference']:+.2f}: {found['verdict']}."
    return from_slice(found, "unseen", "difference", text, because)


def general(figures: Figures) -> list[Recommendation]:
    found = figures.verdict["slices"]["general"]
    if found["verdict"] != "worse":
        return []
    text = "Lower the learning rate, train fewer epochs, or mix general text into the training rows."
    if figures.verdict["slices"]["taught"]["verdict"] != "better":
        text = "Mix general text into the training rows before training longer."
    because = f"The loss on general text rose by {found['difference']:.2f} nats per token: general language was lost."
    return from_slice(found, "general", "difference", text, because)


def undecided(figures: Figures) -> list[Recommendation]:
    """How many items would decide, where the effect that was seen is large enough to be worth deciding."""
    said = []
    for name in ("taught", "unseen"):
        found = figures.verdict["slices"][name]
        half, moved = (found["high"] - found["low"]) / 2, abs(found["difference"])
        if found["verdict"] != "cannot tell" or not moved or (half / moved) ** 2 > AFFORDABLE:
            continue
        needed = max(found["n"] + 1, round(found["n"] * (half / moved) ** 2))
        text = f"Ask about {needed} {name} items, by adding sources, to decide whether they are answered better."
        because = f"{found['n']} items leave {name} undecided: {found['why']}."
        said += from_slice(found, name, "n", text, because)
    return said


def settled(figures: Figures) -> list[Recommendation]:
    """Whether the loss was still falling when training ended, at no cost to general language."""
    losses = [row["loss"] for row in figures.metrics]
    quarter = len(losses) // 4
    if quarter < 2 or general(figures):  # longer training would cost more of what is being lost already
        return []
    before, last = (sum(part) / quarter for part in (losses[-2 * quarter : -quarter], losses[-quarter:]))
    if before <= 0 or (before - last) / before < STILL_FALLING:
        return []
    text = "Train for more epochs: the loss was still falling at the end."
    because = f"Its mean fell from {before:.2f} to {last:.2f} between the last two quarters of training."
    key = f"mean of loss over the last {quarter} rows"
    return [Recommendation(text, because, "50-train/metrics.jsonl", key, round(last, 4))]


def topic_means(scores: Sequence[Mapping[str, Any]]) -> list[tuple[float, str, int]]:
    """(mean correctness, topic, items) of the specialist on validation, the lowest first, ties by name."""
    found: dict[str, list[float]] = {}
    for row in scores:
        if row["slice"] == "validation" and row["measure"] != "loss" and row["topic"]:
            found.setdefault(row["topic"], []).append(row["specialist"])
    return sorted((round(sum(own) / len(own), 4), topic, len(own)) for topic, own in found.items())


def weakest(figures: Figures) -> list[Recommendation]:
    means = topic_means(figures.scores)
    if len(means) <= 1 or means[0][0] == means[-1][0]:
        return []
    low = [one for one in means[:WEAK_TOPICS] if one[0] < means[-1][0]]
    names = ", ".join(topic for _, topic, _ in low)
    score, topic, n = low[0]
    because = f"{topic} is lowest in validation, {score:.2f} over {n} items; the best topic scores {means[-1][0]:.2f}."
    key = f"mean of specialist where slice is validation, topic is {topic} and measure is not loss"
    text = f"Add sources or wordings for {names}; the next round gives more pairs to its weakest topics by itself."
    return [Recommendation(text, because, "60-evaluate/scores.jsonl", key, score, [topic for _, topic, _ in low])]


def dropped(figures: Figures) -> list[Recommendation]:
    reasons = {name: n for name, n in figures.dataset["reasons"].items() if name not in BY_DESIGN}
    made = figures.dataset["counts"]["examples"]
    if not reasons or not made:
        return []
    reason, count = min(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    if count / made < MANY_DROPPED:
        return []
    text = f"Read dropped.jsonl for the reason `{reason}`, and change the sources or templates that cause it."
    because = f"{count} examples were dropped for it, {count / made:.0%} of those made."
    return [Recommendation(text, because, "40-filter/dataset.json", f"reasons.{reason}", count)]


def failures(figures: Figures) -> list[Recommendation]:
    """Steps that failed for a reason of their own; being stopped or killed is not one."""
    said = []
    for reply in figures.replies:
        own = [one for one in reply["tries"] if one["kind"] not in ("stopped", "death")]
        if own:
            text = f"Look at why {reply['step']} failed before it went through; a retry costs its seconds again."
            because = f"{len(own)} of its tries failed; the last: {one_line(own[-1]['message'])}"
            file, key = f"{reply['step']}/reply.json", "tries that failed"
            said.append(Recommendation(text, because, file, key, len(own)))
    return said


def one_line(message: str, limit: int = 160) -> str:
    folded = " ".join(message.split())
    return folded if len(folded) <= limit else f"{folded[:limit]}…"
