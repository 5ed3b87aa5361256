"""Keep the examples that are fit to train on, and seal an exam that shares nothing with them.

    bin/agent filter runs/gpu-ops --once

Reads   goal.md
        20-collect/sources.jsonl            source.v1: licences, for the card; no exam question rests on generated ones
        20-collect/sources/*.md             what every answer is checked against
        30-generate/examples/*.jsonl        example.v1: pairs with their spans, families and templates
        before/40-filter/exam.jsonl         item.v1: the first round's exam, which stays as it is
        before/40-filter/validation.jsonl   item.v1: the same for validation
Writes  train.jsonl        row.v1: the training rows, in chat format
        validation.jsonl   item.v1: what `improve` steers by
        exam.jsonl         item.v1: taught, unseen and general questions, sealed by the first round
        dropped.jsonl      dropped.v1: every example that is in none of these, with its reason
        judged.jsonl       judged.v1: the judge's scores of what a model made; only with a judge
        dataset.json       dataset.v1: counts, the seal, what the second scan found
        card.md            the same for people
Asks    role judge: whether an example that a model made is grounded, right and useful; with no model nobody does

The exam's five rules are in `agents/exam/rules.py`; the scan that checks them again is `agents/exam/overlap.py`.
`settings: {embeddings: MODEL}` also drops near-duplicates by meaning, see `agents/exam/meaning.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents._agent import GiveUp, main
from agents.exam.card import card
from agents.exam.documented import documented
from agents.exam.meaning import same_meaning
from agents.exam.near import tally
from agents.exam.overlap import Overlap, counts, scan
from agents.exam.quality import Drop, screen
from agents.exam.rules import first_exam, sealed_exam
from agents.exam.scoring import judged
from agents.exam.slices import EXAMINED, Split, row
from bus import files

MINIMUM = {"taught": 100, "unseen": 60, "general": 60}  # below this an interval says nothing (DESIGN 10, rule 5)
PASSAGES = 400  # asked for; the base sets aside fewer than 200, and those that resemble training are left out
SEALED = ("exam", "validation")


def filter_examples(job: Any) -> None:
    least = minimum(job.settings.get("minimum", {}))
    sources = {Path(name).stem: job.read(name) for name in job.glob("20-collect/sources/*.md")}
    examples = [example for name in job.glob("30-generate/examples/*.jsonl") for example in job.read(name)]
    kept, unfit = screen(examples, sources)
    kept, unasked = documented(kept, job.read("20-collect/sources.jsonl"))
    if model := job.settings.get("embeddings"):
        again = same_meaning(job, kept, str(model))
        gone = {drop.example["id"] for drop in again}
        kept, unfit = [one for one in kept if one["id"] not in gone], unfit + again
    job.say(f"{len(kept)} of {len(examples)} examples are fit to use")
    verdicts = (
        judged(job, kept, sources) if job.models.profile("judge") and any("made" in one for one in kept) else None
    )
    if verdicts:
        kept, unfit = verdicts.kept, unfit + verdicts.dropped
        job.write("judged.jsonl", sorted(verdicts.rows, key=lambda row: str(row["id"])))
        job.say(f"the judge drops {len(verdicts.dropped)} of {len(verdicts.rows)}")
    exam = job.read("before/40-filter/exam.jsonl")
    if exam is None:
        split = first_exam(kept, sources, passages(job), job.seed)
    else:
        split = sealed_exam(kept, sources, exam, job.read("before/40-filter/validation.jsonl"), job.seed)
    split.dropped += unfit + unasked
    check_enough(split, least, len({example["family"] for example in kept}))
    write(job, split)
    found = scan(job.out, kept)
    check_sealed(job, found, again=exam is not None)
    dataset = summary(split, job.out, found, len(examples))
    if verdicts:
        dataset["judge"] = verdicts.summary(job.models.profile("judge"))
    job.write("dataset.json", dataset)
    job.write("card.md", card(job.goal.name, dataset, split, job.read("20-collect/sources.jsonl")))
    job.say(f"{len(split.train)} training rows; " + ", ".join(f"{dataset['counts'][name]} {name}" for name in least))


def minimum(wanted: Mapping[str, Any]) -> dict[str, int]:
    """The least number of items of each slice; `minimum:` in the settings lowers it for tests and small goals."""
    for name, number in wanted.items():
        if name not in MINIMUM or type(number) is not int or number < 0:
            raise GiveUp(
                f"swarm.yaml: 40-filter: minimum: {name}: {number!r} is not understood; "
                f"give whole numbers for {', '.join(MINIMUM)}"
            )
    return {**MINIMUM, **wanted}


def passages(job: Any) -> list[dict[str, Any]]:
    """Texts that the embedded base never saw, as rows {id, text}."""
    listed = job.folder / "general.jsonl"  # the child works in this folder
    job.spawn(["python", "-m", "training.base", "--general", str(PASSAGES), "--out", listed.name])
    return [files.parse(line, listed.name) for line in listed.read_bytes().splitlines()]


def check_enough(split: Split, least: Mapping[str, int], families: int) -> None:
    """Refuse an exam that is too small to tell anything."""
    if not split.train:
        raise GiveUp(f"40-filter: no rows are left of {families} families; add sources to the goal", kind="goal")
    for name, number in least.items():
        if (found := len(getattr(split, name))) < number:
            raise GiveUp(
                f"40-filter: {found} {name} questions, and the exam needs {number} (rule 5; {families} families); "
                "add sources to the goal, or raise its `examples`",
                kind="goal",
            )


def write(job: Any, split: Split) -> None:
    """Write what the second scan reads back, and what was left out."""
    job.write("train.jsonl", [row(example) for example in split.train])
    job.write("validation.jsonl", split.validation)
    job.write("exam.jsonl", split.exam)
    left_out = sorted(split.dropped, key=lambda drop: (drop.example["id"], drop.reason, drop.detail))
    job.write("dropped.jsonl", [dropped(drop) for drop in left_out])


def dropped(drop: Drop) -> dict[str, Any]:
    """dropped.v1: an example with the reason why it is in none of the other files."""
    found = {"reason": drop.reason, "detail": drop.detail, "example": drop.example}
    return {"schema": "dropped.v1", "id": drop.example["id"], **found}


def check_sealed(job: Any, found: list[Overlap], *, again: bool) -> None:
    """Refuse a leak that the second scan found, and an exam that is not the first round's, byte for byte."""
    if found:
        one = found[0]
        raise GiveUp(
            f"40-filter: the second scan found {len(found)} overlaps of training and exam (rule 5), first by "
            f"{one.rule}: row {one.row}, item {one.item}, {one.text[:60]!r}; "
            "correct agents/exam/rules.py, nothing was kept"
        )
    for name in SEALED if again else ():
        first = files.sha256_file(job.path(f"before/40-filter/{name}.jsonl"))
        now = files.sha256_file(job.out / f"{name}.jsonl")
        if first != now:
            raise GiveUp(
                f"40-filter: {name}.jsonl would be {now[:12]}…, the first round sealed {first[:12]}…; "
                "make the run again from its first round"
            )


def summary(split: Split, out: Path, found: list[Overlap], examples: int) -> dict[str, Any]:
    """dataset.v1: what the report needs to know, and the seal."""
    sizes = {name: len(getattr(split, name)) for name in ("train", *EXAMINED, "dropped")}
    families = {
        "taught": len({example["family"] for example in split.train}),
        "validation": len({one["family"] for one in split.validation}),
        "unseen": len({one["family"] for one in split.unseen}),
    }
    return {
        "schema": "dataset.v1",
        "counts": {"examples": examples, **sizes},
        "families": families,
        **{f"{name}_sha256": files.sha256_file(out / f"{name}.jsonl") for name in SEALED},
        "scan": counts(found),
        "reasons": tally(drop.reason for drop in split.dropped),
    }


if __name__ == "__main__":
    raise SystemExit(main(filter_examples))
