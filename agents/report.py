"""Tell the round to people: what was done, what it cost, whether it is better, and what to do next.

    bin/agent report runs/gpu-ops --once

Reads   goal.md
        00-orient/hardware.json       hardware.v1
        00-orient/recalled.json       recalled.v1: what the memory knew
        10-research/topics.json       topics.v1
        20-collect/sources.jsonl      source.v1
        30-generate/generated.json    generated.v1: what the teacher was asked; only where a model was
        40-filter/dataset.json        dataset.v1: counts, and why examples were dropped
        50-train/metrics.jsonl        metric.v1: the loss curve
        50-train/training.json        training.v1
        60-evaluate/answers.jsonl     answer.v1: for the examples side by side
        60-evaluate/scores.jsonl      score.v1
        60-evaluate/verdict.json      verdict.v1
        before/60-evaluate/verdict.json  verdict.v1: the last round's
        before/80-improve/next.json   next.v1: what this round was told to change
Writes  report.md             for a terminal
        report.html           the same with drawings, in one file that fetches nothing
        recommendations.json  recommendations.v1: numbered, each with its figure
Asks    memory: to keep results, failures, fixes and recommendations

Seconds, dollars and failed tries come from the replies of all steps before it, calls to models from the books of llm/.
"""

from __future__ import annotations

from typing import Any

from agents._agent import main
from agents.pages.markup import html
from agents.pages.page import markdown
from agents.pages.recommend import Figures, recommend
from agents.pages.rounds import Round, learned
from agents.pages.story import tell


def report(job: Any) -> None:
    told = gather(job)
    found = recommend(Figures(told.verdict, told.dataset, told.metrics, told.scores, told.own))
    sections = tell(told, found)
    title = f"{told.name}, round {told.number}"
    job.write("report.md", markdown(title, sections))
    job.write("report.html", html(title, sections))
    items = [one.document(number) for number, one in enumerate(found, 1)]
    job.write("recommendations.json", {"schema": "recommendations.v1", "items": items})
    for note in learned(told, found):
        job.tell("memory", note)
    job.say(f"report with {len(found)} recommendations")


def gather(job: Any) -> Round:
    """Read everything that the report tells of."""
    topics = job.read("10-research/topics.json")
    return Round(
        name=job.run.document["name"],
        number=job.round,
        seed=job.seed,
        topics=topics["topics"],
        sources=job.read("20-collect/sources.jsonl"),
        dataset=job.read("40-filter/dataset.json"),
        training=job.read("50-train/training.json"),
        metrics=job.read("50-train/metrics.jsonl"),
        hardware=job.read("00-orient/hardware.json"),
        recalled=job.read("00-orient/recalled.json")["observations"],
        answers=job.read("60-evaluate/answers.jsonl"),
        scores=job.read("60-evaluate/scores.jsonl"),
        verdict=job.read("60-evaluate/verdict.json"),
        before=job.read("before/60-evaluate/verdict.json"),
        told=job.read("before/80-improve/next.json"),
        replies=[reply for reply in job.replies() if (int(reply["id"][1:]), reply["step"]) < (job.round, job.step)],
        spent=job.spent(),
        asked=topics.get("asked"),
        generated=next((job.read(name) for name in job.glob("30-generate/generated.json")), None),
    )


if __name__ == "__main__":
    raise SystemExit(main(report))
