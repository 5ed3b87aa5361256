"""Write the dataset card: what is in the data set, where it comes from, how it was split, what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents.exam.near import NEAR, tally
from agents.exam.slices import TAUGHT, VALIDATION, Split

SAMPLES = 3  # rows; enough to see the form, and none of them is of the exam
SHOWN = 300  # characters of a sample's answer

REASONS = {
    "structure": "an empty field, a control character, an open code block or a question that breaks off",
    "length": "a question too short to ask anything",
    "refusal": "an answer that declines to answer",
    "ungrounded": "an answer that its spans in the sources do not support",
    "generated": "an exam wording that rests on what a model wrote by itself",
    "judge": "a model that read answer and span scored it too low",
    "duplicate": "the same question and answer, or the same id, once more",
    "near-duplicate": "nearly the same question about the same names, with nearly the same answer",
    "near-duplicate by embeddings": "nearly the same as another about the same names, by the embeddings of a model",
    "contradiction": "a question that has two different answers; all of them are left out",
    "exam-wording": "in the wording of an exam question",
    "exam-question": "the same question as one of the exam",
    "shared-span": "cut from the same place in a source as a held-out family",
    "shared-answer": "holds the answer of a held-out family, or a span of it",
    "near-answer": "nearly the same answer as a held-out family",
    "shared-8-gram": "eight words in a row that also stand in the exam",
    "held-out": "another wording of a fact of validation or unseen",
    "withdrawn": "of a family set aside for the exam, whose answer stands in too many training rows",
    "spare-wording": "an exam wording of a taught family that the exam does not use",
}


def card(name: str, dataset: Mapping[str, Any], split: Split, sources: Iterable[Mapping[str, Any]]) -> str:
    """The card in Markdown. It shows training rows only, so that reading it gives nothing of the exam away."""
    sizes, families = dataset["counts"], dataset["families"]
    parts = [
        f"# Data set {name}",
        f"{sizes['train']} training rows in chat format from {families['taught']} families of facts, made from "
        f"{sizes['examples']} generated examples. {proof(split)}",
        "## What is in it",
        table(("file", "rows", "families", "for"), files(sizes, families)),
        table(("kind", "training rows"), tally(example["kind"] for example in split.train).items()),
        table(("topic", "training rows"), tally(example["topic"] for example in split.train).items()),
        "## Where it comes from",
        table(("source", "origin", "version", "licence"), [origin(source) for source in sources]),
        "A licence that is not known is said to be so; ask before you pass such rows on.",
        "## How it was split",
        how(dataset),
        "## What was left out",
        table(("reason", "examples", "meaning"), [(r, n, REASONS[r]) for r, n in dataset["reasons"].items()]),
        "Each of them is in `dropped.jsonl`, with what exactly was found.",
        *judge(dataset.get("judge")),
        "## Three rows",
        *(sample(example) for example in split.train[:SAMPLES]),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


LIMITS = """- Answers are as right as the sources are; nobody has read them all.
- Near answers are found by letters, not by meaning: two sentences that say one thing in other words are two facts.
- `taught` shows what was learned under a new wording. Only `unseen` shows whether anything beyond it was.
- `general` is text of Python's own library; it stands for what the base knew before, and for no other text."""


def proof(split: Split) -> str:
    """How the answers follow from the sources, in a sentence or two."""
    made = sum("made" in example for example in split.train)
    if not made:
        return "Every answer is quoted or put together from spans of the sources."
    return (
        f"{made} of the rows were worded by a model from a span that it quotes; their numbers, names and negations "
        "were compared with it by rules. The other answers are quoted or put together from spans of the sources."
    )


def judge(found: Mapping[str, Any] | None) -> list[str]:
    """What a model as judge did, and what it could not do; nothing where there was none."""
    if not found:
        return []
    lost = ", ".join(f"{n} {why}" for why, n in found["unanswered"].items())
    least = ", ".join(f"{name} {score}" for name, score in found["least"].items())
    told = (
        f"The judge (profile {found['profile']}) scored {found['judged']} examples that a model made, "
        f"{found['by_its_own_model']} of them made by itself; {found['dropped']} were dropped, for less than {least} "
        f"of 5. {sum(found['unanswered'].values())} stayed without scores{f' ({lost})' if lost else ''}. "
        f"How often the judge is right: {found['own_rate']}."
    )
    return ["## The judge", told]


def files(sizes: Mapping[str, int], families: Mapping[str, int]) -> list[tuple[Any, ...]]:
    return [
        ("train.jsonl", sizes["train"], families["taught"], "training"),
        ("validation.jsonl", sizes["validation"], families["validation"], "steering the next round"),
        ("exam.jsonl: taught", sizes["taught"], sizes["taught"], "taught facts in wordings that training never uses"),
        ("exam.jsonl: unseen", sizes["unseen"], families["unseen"], "facts that training never saw"),
        ("exam.jsonl: general", sizes["general"], "–", "text that the base never saw"),
    ]


def origin(source: Mapping[str, Any]) -> tuple[Any, ...]:
    return (source["id"], source["origin"], source["version"] or "–", source["licence"] or "not known")


def how(dataset: Mapping[str, Any]) -> str:
    """The split in words, with the seal."""
    return (
        f"Families, not rows, are split, by a seeded hash and before any wording: {TAUGHT}% taught, {VALIDATION}% "
        f"validation, {100 - TAUGHT - VALIDATION}% unseen. Exam wordings are used in no training row. A row is "
        f"left out where it shares a span, an answer, a nearly equal answer (letter trigrams, Jaccard {NEAR}) or eight "
        "words in a row with a held-out family. "
        f"A second, independent scan of the written files found {dataset['scan']['overlaps']} overlaps.\n\n"
        f"The exam's sha256 is `{dataset['exam_sha256']}`, validation's `{dataset['validation_sha256']}`; "
        "later rounds use both unchanged."
    )


def sample(example: Mapping[str, Any]) -> str:
    answer = example["answer"]
    shown = answer if len(answer) <= SHOWN else answer[:SHOWN] + " …"
    return f"{quote(example['question'])}\n>\n{quote(shown)}"


def quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def table(head: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; bars and line ends in cells are made harmless."""
    lines = [head, tuple("---" for _ in head), *(tuple(cell(value) for value in row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
