"""Have a judge score the examples that a model made, one by one, and drop those that it finds wanting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents._ask import Question, Unanswered
from agents.asking.material import line
from agents.exam import rubric
from agents.exam.quality import Drop
from agents.models import call as calls

Example = dict[str, Any]

SAY_EVERY = 200  # judgements between two progress lines


def judge_question(example: Example, sources: Mapping[str, str]) -> Question:
    """What the judge is asked about an example: the same wherever it is asked, so that it is paid once."""
    messages, schema = rubric.question(example, sources)
    return Question(messages, schema, max_tokens=rubric.MAX_TOKENS)


@dataclass(frozen=True)
class Judgement:
    """What is kept of one answer of the judge, which is 28 kB with its question: the error, or the scores."""

    call: str = ""
    model: str = ""
    error: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)


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
            "least": dict(rubric.LEAST),
            "own_rate": "not measured",
        }


def judged(job: Any, examples: list[Example], sources: Mapping[str, str]) -> Judged:
    """Judge every example that a model made; one without an answer stays, since the other checks have passed it."""
    asked = [one for one in examples if "made" in one]
    answers: dict[int, Judgement] = {}
    lost = 0
    for place, answer in job.models.all("judge", (judge_question(one, sources) for one in asked)):
        answers[place] = judgement(answer)
        lost += isinstance(answer, Unanswered)
        if len(answers) % SAY_EVERY == 0:
            more = f", {lost} questions given up" if lost else ""
            job.say(f"{len(answers) - lost} of {len(asked)} examples judged{more}", judged=len(answers) - lost)
    found = Judged([])
    gone = set()
    for example, said in zip(asked, (answers[place] for place in sorted(answers)), strict=True):
        if fault := verdict(found, example, said):
            gone.add(example["id"])
            found.dropped.append(Drop(example, "judge", fault))
    found.kept = [one for one in examples if one["id"] not in gone]
    return found


def judgement(answer: Mapping[str, Any] | Unanswered) -> Judgement:
    """What of an answer is of use; the rest, above all the question again, is let go."""
    if isinstance(answer, Unanswered):
        return Judgement(error=answer.kind)
    if answer["error"]:
        return Judgement(error=answer["error"]["kind"])
    given = answer["parsed"]
    scores = {
        name: {"score": given[name]["score"], "reason": line(given[name]["reason"], rubric.REASON)}
        for name in rubric.RUBRIC
    }
    return Judgement(calls.hash_of(answer["call"]), answer["model"], "", scores)


def verdict(found: Judged, example: Example, said: Judgement) -> str | None:
    """Note one judgement; returns why the example is dropped, with the call that says so, or None."""
    if said.error:
        found.without[said.error] += 1
        return None
    found.same_model += said.model == example["made"]["model"]
    found.rows.append({"schema": "judged.v1", "id": example["id"], "call": said.call, "scores": said.scores})
    fault = rubric.fault(said.scores)
    return fault and f"{fault} (llm/outbox/{said.call}.json)"
