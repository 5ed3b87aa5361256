"""Have a judge compare base and specialist on the long answers of the exam, through the `llm` mailbox.

How it is asked and what its words count for is in `agents/asking/preference.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from agents import _budget
from agents._ask import Question, Unanswered
from agents.asking import preference
from agents.asking.material import line

ROLE, TEACHER = "judge", "teacher"
NAME = 100  # characters of a model's name, which an endpoint gives


def compare_pairs(
    job: Any,
    items: list[dict[str, Any]],
    said: dict[str, dict[str, Any]],
    scores: list[dict[str, Any]],
    slices: dict[str, Any],
) -> dict[str, Any]:
    """Have every long answer judged against the base's; put what was found into scores and slices, return who judged.

    Once the money is gone, what was judged by then counts, and the rest is counted as left out.
    """
    rows = {row["item"]: row for row in scores if row["measure"] == "f1"}
    long = preference.in_turn([item for item in items if item["id"] in rows], job.seed)
    asked = [item for item in long if not preference.alike(item, said)]
    job.say(f"asking the {ROLE} about {len(asked)} long answers, in both orders")
    answers, useless = verdicts(job, list(preference.both_orders(asked, said)))
    for item in long:
        rows[item["id"]]["judged"] = {"verdict": "tie", "flipped": False}  # as those that are alike are
    for place, item in enumerate(asked):
        both = [answers[at] for at in (2 * place, 2 * place + 1) if at in answers]
        if len(both) == 2:
            rows[item["id"]]["judged"] = preference.outcome(*(one["parsed"]["better"] for one in both))
        else:
            del rows[item["id"]]["judged"]
    for name in slices:
        own = [item for item in long if item["slice"] == name]
        found = [(rows[item["id"]]["judged"], item["family"]) for item in own if "judged" in rows[item["id"]]]
        if own:
            slices[name]["judged"] = preference.counted(found, len(own), job.seed)
    return judge_of(job, answers.values(), useless)


def verdicts(job: Any, questions: list[Question]) -> tuple[dict[int, dict[str, Any]], int]:
    """({place: an answer of use}, how many were of none); no more is asked once the money is gone."""
    found: dict[int, dict[str, Any]] = {}
    gone: list[Unanswered] = []
    useless = 0
    for place, answer in job.models.all(ROLE, itertools.takewhile(lambda _: not gone, questions)):
        if isinstance(answer, Unanswered) and answer.kind == "budget":
            gone.append(answer)
        elif isinstance(answer, Unanswered) or answer["error"]:
            useless += 1
        else:
            found[place] = {key: answer[key] for key in ("parsed", "profile", "model")}  # not the question again
    return found, useless


def judge_of(job: Any, answers: Iterable[dict[str, Any]], useless: int) -> dict[str, Any]:
    """Who judged, and whether it is a model that also wrote the training data."""
    spoke = {(one["profile"], one["model"]) for one in answers}
    asked = sorted({profile for profile, _ in spoke} or {job.models.profile(ROLE)})
    taught = job.spent().spoke.get(TEACHER, set())
    known = _budget.enabled(job.run, job.config)

    def names(these: Iterable[tuple[str, str]]) -> set[str]:
        listed = {known[profile].model for profile, _ in these if profile in known}
        return {one.casefold() for one in {model for _, model in these} | listed}

    own = bool({profile for profile, _ in spoke & taught} or names(spoke) & names(taught))
    models = sorted({line(model, NAME) or "unnamed" for _, model in spoke})
    return {"profiles": asked, "models": models, "teachers_own": own, "useless": useless}
