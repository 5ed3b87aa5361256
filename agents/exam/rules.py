"""Split examples into training and exam by the five rules, so that nothing of the exam stands in training.

1. Facts come in families (`generate` makes them); every example belongs to one.
2. Families are split by a seeded hash before any wording is looked at; no span of a held-out family stands in training.
3. Templates are split too: an exam wording is in no training row of any family.
4. `unseen` shares no family, answer or 8-gram with training; `taught` shares no question with it.
5. `agents/exam/overlap.py` reads the written files again and must agree; too few items are an error.

Where a held-out family and training overlap, the cheaper side goes: up to ROWS_PER_ITEM training rows, else the family,
which is then neither taught nor examined. An answer of one word counts from the first letter on: there is no minimum
length below which an overlap is let through, a common answer such as `int` is withdrawn from the exam instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from agents.exam.held import Clash, Held, Watch, family_of, question_of
from agents.exam.near import grams, wording, words
from agents.exam.quality import Drop
from agents.exam.slices import Split, account, item, passage, rank, slice_of

Example = dict[str, Any]
Item = dict[str, Any]

TAUGHT_ITEMS = 200  # more would cost minutes of answering and narrow the interval by little
GENERAL_ITEMS = 100  # passages; loss on each is cheap, and 100 put it to about ±0.03 nats
ROWS_PER_ITEM = 6  # a family has at most six wordings: one exam item is not worth more training than one family


def first_exam(examples: list[Example], sources: dict[str, str], passages: list[Example], seed: int) -> Split:
    """Make training and exam of a first round. `passages` are {id, text} rows that the base never saw."""
    families = by_family(examples)
    split = Split()
    rows = teachable(examples, seed, split)
    held = [family_of(f"family {f}", own, sources) for f, own in families.items() if slice_of(f, seed) != "taught"]
    questions = [
        question_of(e["id"], e["question"], shares_answer=slice_of(e["family"], seed) == "taught")
        for e in examples
        if e["use"] == "exam"
    ]
    clashes = find(rows, held + questions, ROWS_PER_ITEM + 1)
    chosen = choose(families, clashes, seed)
    kept = remove(rows, clashes, {key for e in chosen for key in (e["id"], f"family {e['family']}")}, split)
    split.train = kept
    for example in chosen:
        name = slice_of(example["family"], seed)
        getattr(split, name).append(item(example, name))
    split.taught = [item(example, "taught") for example in taught(families, kept, clashes, seed)]
    split.general = general(passages, kept)
    split.order(seed)
    split.dropped += account(split, examples, seed)
    return split


def sealed_exam(
    examples: list[Example], sources: dict[str, str], exam: list[Item], validation: list[Item], seed: int
) -> Split:
    """Make training of a later round, around the first round's exam: where they overlap, the training row goes."""
    families = by_family(examples)
    split = Split(validation=validation)
    for one in exam:
        getattr(split, one["slice"]).append(one)
    rows = teachable(examples, seed, split)
    held = [part for one in exam + validation for part in sealed(one, families, sources)]
    clashes = find(rows, held)
    split.train = remove(rows, clashes, {one.key for one in held}, split)
    split.train.sort(key=lambda example: rank(seed, "row", example["id"]))
    split.dropped += account(split, examples, seed)
    return split


def sealed(one: Item, families: dict[str, list[Example]], sources: dict[str, str]) -> list[Held]:
    """What an item of the first round keeps out of training; spans are those that its family has now."""
    answer = words(one["answer"])
    if one["slice"] == "general":
        return [Held(one["id"], grams=frozenset(grams(answer)))]
    if one["slice"] == "taught":
        return [question_of(one["id"], one["question"], shares_answer=True)]
    said = frozenset({answer} - {()})
    return [
        question_of(one["id"], one["question"], shares_answer=False),
        Held(f"answer {one['id']}", phrases=said, answers=said, grams=frozenset(grams(answer))),
        family_of(f"family {one['family']}", families.get(one["family"], ()), sources),
    ]


def by_family(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """{family: its examples}, families in order of their names."""
    found: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        found[example["family"]].append(example)
    return dict(sorted(found.items()))


def teachable(examples: list[Example], seed: int, split: Split) -> list[Example]:
    """The teach-worded examples of taught families; a template or a wording of both uses is the exam's."""
    known = {one["family"] for one in [*split.validation, *split.unseen]}
    exams = [example for example in examples if example["use"] == "exam"]
    templates = {example["template"] for example in exams}
    wordings = {wording(one["question"]) for one in [*exams, *split.exam, *split.validation]}
    wordings = {worded for worded in wordings if set(worded.split()) - {"_"}}  # names alone are no wording
    rows = []
    for example in examples:
        if example["use"] != "teach" or example["family"] in known or slice_of(example["family"], seed) != "taught":
            continue
        if example["template"] in templates or wording(example["question"]) in wordings:
            split.dropped.append(Drop(example, "exam-wording", f"{example['template']}: the exam asks in these words"))
        else:
            rows.append(example)
    return rows


def find(rows: list[Example], held: list[Held], enough: int | None = None) -> dict[str, dict[str, Clash]]:
    """{key of what is held: {row id: the overlap}}; no more than `enough` rows of one key, by which it is lost."""
    watch = Watch(held)
    found: dict[str, dict[str, Clash]] = {one.key: {} for one in held}
    for row in rows:
        for clash in watch.clashes(row):
            found[clash.key][row["id"]] = clash
            if len(found[clash.key]) == enough:
                watch.spent.add(clash.key)
    return found


def choose(families: dict[str, list[Example]], clashes: dict[str, dict[str, Clash]], seed: int) -> list[Example]:
    """One exam-worded example for each held-out family whose overlaps cost at most ROWS_PER_ITEM training rows."""
    chosen = []
    for family, own in families.items():
        candidates = [e for e in own if e["use"] == "exam" and words(e["answer"])]
        if slice_of(family, seed) == "taught" or not candidates:
            continue
        cost = {e["id"]: clashes[f"family {family}"].keys() | clashes[e["id"]].keys() for e in candidates}
        best = min(candidates, key=lambda e: (len(cost[e["id"]]), rank(seed, "item", e["id"])))
        if len(cost[best["id"]]) <= ROWS_PER_ITEM:
            chosen.append(best)
    return chosen


def remove(rows: list[Example], clashes: dict[str, dict[str, Clash]], keys: set[str], split: Split) -> list[Example]:
    """The rows that overlap nothing of `keys`; the others are dropped with the first overlap as the reason."""
    first: dict[str, Clash] = {}
    for key in sorted(keys):
        for id, clash in clashes.get(key, {}).items():
            first.setdefault(id, clash)
    kept = []
    for row in rows:
        if why := first.get(row["id"]):
            split.dropped.append(Drop(row, why.reason, f"{why.key}: {why.detail}"))
        else:
            kept.append(row)
    return kept


def taught(
    families: dict[str, list[Example]], train: list[Example], clashes: dict[str, dict[str, Clash]], seed: int
) -> list[Example]:
    """One exam-worded example for each of up to TAUGHT_ITEMS families, with an answer that training really gives."""
    rows, left = by_family(train), {row["id"] for row in train}
    chosen = []
    for family in sorted(rows, key=lambda f: rank(seed, "taught", f)):
        given = {words(row["answer"]) for row in rows[family]}
        free = [
            e
            for e in families[family]
            if e["use"] == "exam" and words(e["answer"]) in given
            if len(clashes[e["id"]]) <= ROWS_PER_ITEM and not clashes[e["id"]].keys() & left
        ]
        if free:
            chosen.append(min(free, key=lambda e: rank(seed, "item", e["id"])))
    return chosen[:TAUGHT_ITEMS]


def general(passages: list[Example], train: list[Example]) -> list[Item]:
    """The first passages that share no eight words with training; one of fewer words cannot be compared."""
    seen = {gram for row in train for key in ("question", "answer") for gram in grams(words(row[key]))}
    free = []
    for one in passages:
        own = grams(words(one["text"]))
        if own and own.isdisjoint(seen):
            free.append(passage(one))
    return free[:GENERAL_ITEMS]
