"""A small world of facts with sources, spans and wordings, into which tests plant faults."""

import copy
import hashlib
import random
from pathlib import Path

from agents.exam.slices import Split, row
from bus import files

TEACH = {
    "qa.1": "What does `{name}` do?",
    "qa.2": "Say in one sentence what `{name}` is for.",
    "qa.3": "Somebody calls `{name}`; which effect has it?",
}
EXAM = {
    "qa.8": "A colleague met `{name}` today. Describe its purpose.",
    "qa.9": "Which job is done by `{name}`?",
}
SYLLABLES = [a + b for a in "bdfglmnprstvz" for b in "aeiou"]


def invented(source: random.Random, count: int) -> str:
    """Words that stand nowhere else, as a sentence."""
    return " ".join("".join(source.choices(SYLLABLES, k=4)) for _ in range(count)).capitalize() + "."


def example(template: str, name: str, fact: dict, use: str | None = None) -> dict:
    """One example.v1 of a fact in one wording."""
    wording = (TEACH | EXAM)[template]
    question = wording.format(name=name)
    return {
        "schema": "example.v1",
        "id": "e-" + hashlib.sha256(f"{question}{fact['answer']}".encode()).hexdigest()[:12],
        "family": fact["family"],
        "topic": fact["topic"],
        "kind": "qa",
        "template": template,
        "use": use or ("teach" if template in TEACH else "exam"),
        "question": question,
        "answer": fact["answer"],
        "short": len(fact["answer"].split()) <= 6,
        "spans": [fact["span"]],
    }


def world(families: int, seed: int = 1) -> tuple[list[dict], dict[str, str]]:
    """(examples, sources): `families` facts of one sentence, each in three teach and two exam wordings."""
    source = random.Random(seed)
    texts: dict[str, str] = {}
    examples = []
    for number in range(families):
        name, doc = f"pkg{number % 7}.call_{number}", f"doc-{number % 5}"
        answer = invented(source, 7 if number % 2 else 3)
        texts[doc] = texts.get(doc, "") + f"## {name}\n"
        start = len(texts[doc])
        texts[doc] += answer + "\n\n"
        fact = {
            "answer": answer,
            "span": {"source": doc, "start": start, "end": start + len(answer)},
            "family": "f-" + hashlib.sha256(answer.lower().encode()).hexdigest()[:12],
            "topic": f"topic-{number % 3}",
        }
        examples += [example(template, name, fact) for template in (*TEACH, *EXAM)]
    return examples, texts


def passages(count: int, seed: int = 2) -> list[dict[str, str]]:
    """Held-out texts that share nothing with any world."""
    source = random.Random(seed)
    return [{"id": f"g-{number:012x}", "text": invented(source, 30)} for number in range(count)]


def changed(one: dict, **new: object) -> dict:
    """A copy of an example with other values and another id."""
    made = copy.deepcopy(one) | new
    return made if "id" in new else made | {"id": "e-" + hashlib.sha256(repr(made).encode()).hexdigest()[:12]}


def written(split: Split, folder: Path) -> Path:
    """The split as filter writes it; returns the folder."""
    for name, rows in {
        "train": [row(e) for e in split.train],
        "validation": split.validation,
        "exam": split.exam,
    }.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(files.canonical(one) for one in rows))
    return folder
