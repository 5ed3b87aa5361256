"""Choose what the next round strengthens, from the validation slice alone.

    bin/agent improve runs/gpu-ops --once

Reads   goal.md
        00-orient/recalled.json     recalled.v1: what earlier rounds and runs scored on the same topics
        10-research/topics.json     topics.v1: the topics there are
        60-evaluate/scores.jsonl    score.v1: only rows of the slice `validation`; the exam steers nothing
        70-report/recommendations.json  recommendations.v1: what is left to people
        before/80-improve/next.json next.v1: how many pairs this round wanted
Writes  next.json   next.v1: topics to strengthen, pairs wanted, changes in plain words
Asks    nothing
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents import _recall
from agents._agent import main

FOCUS = 3  # topics strengthened per round: more would spread the added pairs too thin to be seen
GROWTH = 0.25  # more pairs per round: enough to move a topic, and a quarter more training time
PRIOR_ITEMS = 5  # a topic's score counts as much as its prior once it has this many validation items
STEP = 0.1  # scores closer than this are told apart by loss: a handful of items says no more, and many score 0
DIGITS = 4


def improve(job: Any) -> None:
    slugs = [topic["slug"] for topic in job.read("10-research/topics.json")["topics"]]
    recalled = job.read("00-orient/recalled.json")["observations"]
    before = job.read("before/80-improve/next.json")
    wanted = before["examples"] if before else job.goal.examples
    document = plan(job.round, slugs, job.read("60-evaluate/scores.jsonl"), recalled, wanted)
    document["left_to_people"] = [item["text"] for item in job.read("70-report/recommendations.json")["items"]]
    job.write("next.json", document)
    for change in document["changes"]:
        job.say(change)


def plan(
    round: int,
    slugs: Sequence[str],
    scores: Sequence[Mapping[str, Any]],
    recalled: Sequence[_recall.Observation],
    wanted: int,
) -> dict[str, Any]:
    """The next round's next.v1: the weakest topics, and `wanted` pairs grown by GROWTH."""
    priors = _recall.priors(recalled, slugs)
    focus = weakest(by_topic(scores, loss=False), by_topic(scores, loss=True), slugs, priors)
    used = sorted(priors[row["topic"]]["id"] for row in focus if row["topic"] in priors)
    examples = wanted + math.ceil(wanted * GROWTH)
    names = ", ".join(row["topic"] for row in focus)
    changes = [f"{examples - wanted} more pairs, {examples} in all, cut for {names} first",
               "trains from the base again, on the pairs of all rounds together",
               "the exam and the validation set stay as they are"]  # fmt: skip
    if used:
        changes.append(f"{len(used)} of these scores are weighed with what earlier rounds or runs remembered")
    return {"schema": "next.v1", "round": round + 1, "focus": focus, "examples": examples, "changes": changes,
            "used": used}  # fmt: skip


def by_topic(scores: Sequence[Mapping[str, Any]], loss: bool) -> dict[str, list[float]]:
    """The specialist's loss, or else its correctness, on validation items by topic; every other row is left unread."""
    found: dict[str, list[float]] = {}
    for row in scores:
        if row["slice"] == "validation" and (row["measure"] == "loss") == loss and row["topic"] is not None:
            found.setdefault(row["topic"], []).append(row["specialist"])
    return found


def shrunken(values: Sequence[float], prior: float) -> float:
    """(sum + PRIOR_ITEMS × prior) / (items + PRIOR_ITEMS): one unlucky answer does not decide."""
    return (math.fsum(values) + PRIOR_ITEMS * prior) / (len(values) + PRIOR_ITEMS)


def mean_of(found: Mapping[str, Sequence[float]]) -> float:
    every = [value for values in found.values() for value in values]
    return math.fsum(every) / len(every) if every else 0.0


def weakest(
    scores: Mapping[str, Sequence[float]],
    losses: Mapping[str, Sequence[float]],
    slugs: Sequence[str],
    priors: Mapping[str, _recall.Observation],
) -> list[dict[str, Any]]:
    """The FOCUS topics of lowest shrunken score, then of highest shrunken loss, then by name.

    A topic's prior is its recalled score, or else the mean over all topics; with no item it stands at its prior.
    """
    overall, usual_loss = mean_of(scores), mean_of(losses)
    rows = []
    for slug in slugs:
        own, lost, told = scores.get(slug, []), losses.get(slug, []), priors.get(slug)
        prior, source = (told["data"]["score"], origin(told)) if told else (overall, "the mean of all topics")
        score = shrunken(own, prior)
        row = {"topic": slug, "score": round(score, DIGITS), "n": len(own), "why": reason(own, lost, prior, source)}
        rows.append(((math.floor(score / STEP + 0.5), -shrunken(lost, usual_loss), slug), row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])[:FOCUS]]


def reason(own: Sequence[float], lost: Sequence[float], prior: float, source: str) -> str:
    if not own:
        return f"was asked nothing in validation; stands at {source}, {prior:.2f}"
    scored = f"scores {mean_of({'': own}):.2f} over {len(own)} validation items at a loss of {mean_of({'': lost}):.2f}"
    return f"{scored}; weighed with {source}, {prior:.2f}"


def origin(told: _recall.Observation) -> str:
    return f"what r{told['round']} of {told['run']} remembered"


if __name__ == "__main__":
    raise SystemExit(main(improve))
