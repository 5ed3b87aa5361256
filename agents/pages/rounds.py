"""One round's documents, and what the memory should keep of them. Pure: documents in, observations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents import _recall
from agents.models.bill import Bill
from agents.pages.recommend import Recommendation, one_line, topic_means

SLICES = ("taught", "unseen", "general", "validation")
REPAIRS = {
    "death": "its agent was ended and started again; the next try went on with what was kept",
    "stopped": "it was asked to stop; the next try went on with what was kept",
    "disk": "it waited for room on the disk",
    "repaired": "a verified patch, then the next try",
}


@dataclass(frozen=True)
class Round:
    """The documents that a report tells of; `before` and `told` are the last round's verdict and next.json, or None."""

    name: str
    number: int
    seed: int
    topics: Sequence[Mapping[str, Any]]
    sources: Sequence[Mapping[str, Any]]
    dataset: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    hardware: Mapping[str, Any]
    recalled: Sequence[_recall.Observation]
    answers: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    verdict: Mapping[str, Any]
    before: Mapping[str, Any] | None
    told: Mapping[str, Any] | None
    replies: Sequence[Mapping[str, Any]]
    spent: Bill | None = None  # what model calls came to; None or empty where there were none
    asked: Mapping[str, Any] | None = None  # who drew the map of the domain, where a model did
    generated: Mapping[str, Any] | None = None  # what the teacher's model made, where there was one

    @property
    def own(self) -> list[Mapping[str, Any]]:
        """The replies of this round."""
        return [reply for reply in self.replies if reply["id"] == f"r{self.number}"]


def learned(told: Round, recommendations: Sequence[Recommendation]) -> list[_recall.Observation]:
    """What the memory should keep. No seconds and no try numbers: telling again must be telling the same."""
    slugs = [topic["slug"] for topic in told.topics]

    def note(kind: str, topics: Sequence[str], text: str, data: dict[str, Any]) -> _recall.Observation:
        return _recall.observation(kind, told.name, told.number, topics, text, data)

    notes = []
    for name, found in told.verdict["slices"].items():
        means = f"{found['base']:.3f} → {found['specialist']:.3f}, n = {found['n']}"
        text = f"{name}: {found['verdict']}; {found['measure']} {means}"
        keys = ("verdict", "measure", "n", "base", "specialist", "difference", "low", "high")
        notes.append(note("result", slugs, text, {"slice": name, **{key: found[key] for key in keys}}))
    for score, topic, n in topic_means(told.scores):
        text = f"{topic} scores {score:.2f} over {n} validation items"
        notes.append(note("result", [topic], text, {"topic": topic, "score": score, "n": n}))
    for reply in told.own:
        for kind, message in sorted({(one["kind"], one_line(one["message"])) for one in reply["tries"]}):
            data = {"step": reply["step"], "failure": kind}
            notes.append(note("failure", [], f"{reply['step']} failed: {message}", data))
            notes.append(note("fix", [], f"{reply['step']}, after {message}: {repair(kind)}", data))
    for number, one in enumerate(recommendations, 1):
        notes.append(note("recommendation", one.topics, f"{one.text} {one.because}", one.document(number)["figure"]))
    return notes


def repair(kind: str) -> str:
    """How a failed try was answered, as far as its kind says."""
    return REPAIRS.get(kind, "tried again, and it went through")
