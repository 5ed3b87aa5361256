"""Ask base and specialist the sealed exam, and say slice by slice whether they differ.

    bin/agent evaluate runs/gpu-ops --once

Reads   goal.md
        00-orient/hardware.json     hardware.v1: whether there is a GPU to pay for
        40-filter/dataset.json      dataset.v1: the sha256 that the exam was sealed with
        40-filter/validation.jsonl  item.v1: what `improve` steers by
        40-filter/exam.jsonl        item.v1: taught, unseen and general; no other agent reads its text
        50-train/adapter/*          what training added to the base
        50-train/base/*             the base itself, where it was built here
        50-train/training.json      training.v1: which base it was
Writes  answers.jsonl   answer.v1: what both said to every item
        scores.jsonl    score.v1: every measure of every item
        verdict.json    verdict.v1: better, worse or cannot tell, for each slice
Asks    role judge: which of two long answers is better, in both orders; with no model, nothing
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents import _base
from agents import _statistics as statistics
from agents._agent import GiveUp, main
from agents._preference import ROLE, compare_pairs
from bus import files

MODELS = ("base", "specialist")
REQUIRED = ("taught", "unseen", "general")  # what the verdict must cover; a tiny data set may have no validation items
DIGITS = 6  # past this, figures differ between machines by rounding alone


def evaluate(job: Any) -> None:
    check_sealed(job)
    items = job.read("40-filter/validation.jsonl") + job.read("40-filter/exam.jsonl")
    check_items(items)
    said = {model: ask(job, model, items) for model in MODELS}
    answers = [answer_row(item, *(said[model][item["id"]] for model in MODELS)) for item in items]
    scores = score_all(items, said, job.seed)
    job.write("answers.jsonl", answers)
    sealed = job.read("40-filter/dataset.json")["exam_sha256"]
    verdict = judge(items, scores, job.seed) | {"exam_sha256": sealed}
    if job.models.profile(ROLE):
        verdict["judge"] = compare_pairs(job, items, said, scores, verdict["slices"])
    job.write("scores.jsonl", scores)
    job.write("verdict.json", verdict)
    for name, found in verdict["slices"].items():
        job.say(f"{name}: {found['verdict']} ({found['base']:.3f} → {found['specialist']:.3f}, n = {found['n']})")


def check_sealed(job: Any) -> None:
    """Refuse an exam or a validation set that is not the one that `filter` sealed."""
    dataset = job.read("40-filter/dataset.json")
    for name in ("exam", "validation"):
        found, sealed = files.sha256_file(job.path(f"40-filter/{name}.jsonl")), dataset[f"{name}_sha256"]
        if found != sealed:
            raise GiveUp(
                f"40-filter/{name}.jsonl: sha256 {found[:12]}… is not the sealed {sealed[:12]}…; "
                "remove 40-filter's reply so that it is made again"
            )


def check_items(items: list[dict[str, Any]]) -> None:
    """Refuse double ids, and an exam without a slice that the verdict must cover."""
    if len({item["id"] for item in items}) != len(items):
        raise GiveUp("40-filter: two items have one id; remove 40-filter's reply so that it is made again")
    if missing := [name for name in REQUIRED if all(item["slice"] != name for item in items)]:
        raise GiveUp(f"40-filter/exam.jsonl: no {' and no '.join(missing)} items; give the goal more sources")


def ask(job: Any, model: str, items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{item id: {text, loss}} of one model; kept, so that the next try does not ask again."""
    asked = files.canonical(questions(items))
    trained = files.sha256_file(job.path("50-train/training.json")).encode()
    key = files.sha256(asked + trained)[:12]  # answers of another model or another exam are never taken for these

    def make() -> list[dict[str, Any]]:
        listed, out = job.folder / "items.jsonl", job.folder / f"{model}.jsonl"
        listed.write_bytes(b"".join(files.canonical(row) for row in questions(items)))
        job.say(f"asking the {model} {len(items)} items")
        gpu = bool(job.read("00-orient/hardware.json")["gpus"])
        job.spawn(answer_command(job, model, listed, out), gpu=gpu)
        return list(check_answers(model, items, rows(out)).values())

    return check_answers(model, items, job.once(f"answers-{model}-{key}.jsonl", make))


def questions(items: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the models are shown: neither slice nor topic could help them, and neither is there."""
    return [{key: item[key] for key in ("id", "question", "answer")} for item in items]


def answer_command(job: Any, model: str, listed: Path, out: Path) -> list[str]:
    adapter = ["--adapter", str(job.path("50-train/adapter"))] if model == "specialist" else []
    given = ["--base", base_of(job), *adapter, "--items", str(listed), "--out", str(out)]
    return ["python", "-m", "training.answer", *given]


def base_of(job: Any) -> str:
    """The base that was trained on: the run's own copy, else the folder or the hub's name that the goal gives."""
    about = job.read("50-train/training.json")
    if about["base"]["kind"] == "embedded":
        return str(job.path("50-train/base"))
    return _base.named(job.goal.base, about)


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a child's JSONL file, NaN let in: `check_answers` says in words what is wrong with it."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def check_answers(model: str, items: list[dict[str, Any]], given: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Answers by item id; raises ValueError where one is missing, doubled or has no finite loss."""
    found = {row["id"]: row for row in given}
    if wrong := sorted({item["id"] for item in items} ^ found.keys()):
        raise ValueError(f"the {model}'s answers: {len(wrong)} ids are missing or unknown, first {wrong[0]}; ask again")
    if len(found) != len(given):
        raise ValueError(f"the {model}'s answers: {len(given) - len(found)} items were answered twice; ask again")
    for name, row in found.items():
        loss = row["loss"]
        if not isinstance(row["text"], str) or not isinstance(loss, int | float) or not math.isfinite(loss):
            raise ValueError(f"the {model}'s answer to {name}: loss {loss!r} is no number; has training diverged?")
    return found


def answer_row(item: dict[str, Any], base: dict[str, Any], specialist: dict[str, Any]) -> dict[str, Any]:
    row = {"schema": "answer.v1", "item": item["id"], "slice": item["slice"]}
    if item["slice"] != "general":  # its reference is a long passage, of which only the loss is measured
        row |= {"topic": item["topic"], "question": item["question"], "reference": item["answer"]}
    answers = {"base": base, "specialist": specialist}
    return row | {model: {"text": said["text"], "loss": said["loss"]} for model, said in answers.items()}


def score_all(items: list[dict[str, Any]], said: dict[str, dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Correctness and loss of every item, loss alone for general text, as score.v1 rows in the items' order."""
    long = [item for item in items if item["slice"] != "general" and not item["short"]]
    scored = []
    for item in items:
        if item["slice"] != "general":
            texts = [said[model][item["id"]]["text"] for model in MODELS]
            scored.append(correctness(item, texts, pool_of(item, long), seed))
        scored.append(score_row(item, "loss", [said[model][item["id"]]["loss"] for model in MODELS]))
    return scored


def pool_of(item: dict[str, Any], long: list[dict[str, Any]]) -> list[str]:
    """The references to shuffle with: those of the same kind, so that knowing a kind's phrases earns nothing.

    All long ones where its kind has no other.
    """
    same = {other["answer"] for other in long if other["kind"] == item["kind"]}
    return sorted(same if len(same) > 1 else {other["answer"] for other in long})


def correctness(item: dict[str, Any], texts: list[str], pool: list[str], seed: int) -> dict[str, Any]:
    """One item's correctness; a long one with no other reference to shuffle in is held to an exact match."""
    shuffled = [] if item["short"] else statistics.others(item["answer"], pool, statistics.rng(seed, item["id"]))
    if not shuffled:
        return score_row(item, "exact", [statistics.exact(text, item["answer"]) for text in texts])
    return score_row(item, "f1", [statistics.adjusted_f1(text, item["answer"], shuffled) for text in texts])


def score_row(item: dict[str, Any], measure: str, values: Iterable[float]) -> dict[str, Any]:
    row = {"schema": "score.v1", "item": item["id"], "slice": item["slice"], "topic": item["topic"]}
    scores = dict(zip(MODELS, (round(float(value), DIGITS) for value in values), strict=True))
    return row | {"short": item["short"], "measure": measure} | scores


def judge(items: list[dict[str, Any]], scores: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """verdict.v1 without the exam's sha256, from the scores of every slice that has items."""
    family = {item["id"]: item["family"] or item["id"] for item in items}
    slices = {}
    for name in (*REQUIRED, "validation"):
        found = [row for row in scores if row["slice"] == name]
        if found:
            slices[name] = judge_slice(found, family, name, seed)
    return {"schema": "verdict.v1", "slices": slices}


def judge_slice(scores: list[dict[str, Any]], family: dict[str, str], name: str, seed: int) -> dict[str, Any]:
    losses = [row for row in scores if row["measure"] == "loss"]
    correct = [row for row in scores if row["measure"] != "loss"]
    measure = "loss" if name == "general" else "correctness"
    main_rows = losses if measure == "loss" else correct
    found, loss = (compare_rows(rows, family, seed) for rows in (main_rows, losses))
    word, why = statistics.verdict(found, lower_is_better=measure == "loss")
    figures = rounded(asdict(found))
    lost = {key: value for key, value in rounded(asdict(loss)).items() if key not in ("n", "moved")}
    return {"verdict": word, "why": why, "measure": measure, **figures, "loss": lost}


def compare_rows(scores: list[dict[str, Any]], family: dict[str, str], seed: int) -> statistics.Comparison:
    base, specialist = ([row[model] for row in scores] for model in MODELS)
    return statistics.compare(base, specialist, [family[row["item"]] for row in scores], seed)


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, int) else round(value, DIGITS) for key, value in figures.items()}


if __name__ == "__main__":
    raise SystemExit(main(evaluate))
