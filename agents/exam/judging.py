"""Ask a judge about the examples that a model made, and drop those that it finds wanting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents._ask import Question, Unanswered
from agents.exam import judge
from agents.exam.quality import Drop
from agents.models import call as calls

Example = dict[str, Any]

SAY_EVERY = 200  # judgements between two progress lines


def judge_question(example: Example, sources: Mapping[str, str]) -> Question:
    """What the judge is asked about an example: the same wherever it is asked, so that it is paid once."""
    messages, schema = judge.question(example, sources)
    return Question(messages, schema, max_tokens=judge.MAX_TOKENS)


@dataclass
class Judged:
    """What the judge said: the examples that stay, those that go, judged.v1 of each, and what had no answer."""

    kept: list[Example]
    dropped: list[Drop] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    without: Counter[str] = field(default_factory=Counter)
    same_model: int = 0  # judgements by the very model that made the example

    def summary(self, profile: str) -> dict[str, Any]:
        """The part of dataset.v1 that is about the judge."""
        return {
            "profile": profile,
            "judged": len(self.rows),
            "dropped": len(self.dropped),
            "unanswered": dict(sorted(self.without.items())),
            "by_its_own_model": self.same_model,
            "least": dict(judge.LEAST),
            "own_rate": "not measured",
        }


def judged(job: Any, examples: list[Example], sources: Mapping[str, str]) -> Judged:
    """Judge every example that a model made; one without an answer stays, since the other checks have passed it."""
    asked = [one for one in examples if "made" in one]
    answers: dict[int, Any] = {}
    for place, answer in job.models.all("judge", (judge_question(one, sources) for one in asked)):
        answers[place] = answer
        if len(answers) % SAY_EVERY == 0:
            job.say(f"{len(answers)} of {len(asked)} examples judged", judged=len(answers))
    found = Judged([])
    gone = set()
    for example, answer in zip(asked, (answers[place] for place in sorted(answers)), strict=True):
        if fault := verdict(found, example, answer):
            gone.add(example["id"])
            found.dropped.append(Drop(example, "judge", fault))
    found.kept = [one for one in examples if one["id"] not in gone]
    return found


def verdict(found: Judged, example: Example, answer: Mapping[str, Any] | Unanswered) -> str | None:
    """Note one judgement; returns why the example is dropped, with the call that says so, or None."""
    if isinstance(answer, Unanswered) or answer["error"]:
        found.without[answer.kind if isinstance(answer, Unanswered) else answer["error"]["kind"]] += 1
        return None
    call, scores = calls.hash_of(answer["call"]), answer["parsed"]
    found.same_model += answer["model"] == example["made"]["model"]
    plain = {
        name: {"score": scores[name]["score"], "reason": judge.line(scores[name]["reason"])} for name in judge.RUBRIC
    }
    found.rows.append({"schema": "judged.v1", "id": example["id"], "call": call, "scores": plain})
    fault = judge.fault(scores)
    return fault and f"{fault} (llm/outbox/{call}.json)"
