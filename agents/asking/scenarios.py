"""Ask for error scenarios, and keep those that are whole and differ: a symptom, its message, cause, fix and check.

A goal whose topics name GPUs gets three groups: CUDA errors, out of memory, communication between GPUs. Any other goal
gets one group for each of its first three topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from agents._ask import Question
from agents.asking.material import RULE, line, quoted, upto
from agents.exam.near import similar, words
from agents.sources import outline

WANTED = 50  # scenarios of each group
BATCH = 10  # of one answer: about 2,000 tokens, half of what a researcher may say at once
ROUNDS = 3  # of asking: what the first one lacks after double ones are dropped, the others ask for
OTHERS = 3  # groups of a goal that is not about GPUs
MATERIAL = 16_000  # characters of outlines in one question: 4,000 tokens
FIELD = 400  # characters of one field; a sentence or two
HEAD = 160  # characters of a symptom, which becomes a heading
FIELDS = ("symptom", "message", "cause", "fix", "check")
FEWEST = 3  # words of a symptom, a cause or a fix: less says nothing
GPU_WORDS = frozenset(("cuda", "gpu", "nccl", "rocm", "nvml"))
GPU_GROUPS = (
    ("cuda-errors", "CUDA errors", "what CUDA, its libraries and code built on them report", "cuda kernel device"),
    ("out-of-memory", "Out of memory", "GPU memory that runs out, leaks or fragments", "memory"),
    (
        "multi-gpu-communication",
        "Communication between GPUs",
        "collectives, process groups and the network between GPUs that hang, time out or disagree",
        "communication distributed nccl collective rank",
    ),
)
ANGLES = (  # one for each batch of a group, so that batches differ
    "when a program starts and loads its libraries",
    "in the first minutes of a long job",
    "after hours or days of running",
    "where data is loaded, moved or written",
    "after an upgrade of a driver, a library or the system",
    "in a container or under a scheduler",
    "under a load or a size that nobody tried before",
    "when something else on the machine or the network fails first",
)
SYSTEM = f"You write down error scenarios from practice for the people who train a specialist language model. {RULE}"
ANSWER = {
    "type": "object",
    "properties": {
        "scenarios": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in FIELDS},
                "required": list(FIELDS),
                "additionalProperties": False,
            },
        }
    },
    "required": ["scenarios"],
    "additionalProperties": False,
}

Scenario = Mapping[str, str]


@dataclass(frozen=True)
class Group:
    """What fifty scenarios are about, and the slugs of the topics that they are for."""

    slug: str
    title: str
    about: str
    topics: tuple[str, ...]


def groups(topics: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> list[Group]:
    """The groups that the topics of a topics.v1 suggest, by the rule above; `about` is what the goal says of each.

    Only the goal's own words count: the keywords of a topics.v1 may be a model's.
    """
    said = {topic["slug"]: singular(f"{topic['title']} {about[topic['slug']]}") for topic in topics}
    if gpu := tuple(name for name, own in said.items() if own & GPU_WORDS):
        own = ((one, tuple(name for name in said if said[name] & set(one[3].split()))) for one in GPU_GROUPS)
        return [Group(slug, title, what, named or gpu) for (slug, title, what, _), named in own]
    return [Group(topic["slug"], topic["title"], about[topic["slug"]], (topic["slug"],)) for topic in topics[:OTHERS]]


def singular(text: str) -> set[str]:
    """The words of a text, and each without its last s."""
    return {form for word in words(text) for form in (word, word.removesuffix("s"))}


def question(group: Group, material: str, number: int, known: Iterable[str]) -> Question:
    """Batch `number` of a group's scenarios; `material` is quoted, `known` are symptoms that are there already."""
    there = upto((f"- {one}" for one in known), MATERIAL // 4)
    task = (
        f"Write {BATCH} error scenarios about {group.title}: {group.about}. "
        f"All of them show up {ANGLES[number % len(ANGLES)]}. Each has: `symptom`, what a person sees, in one sentence "
        "that no other scenario shares; `message`, the words of the error as they are printed; `cause`, why it "
        "happens; `fix`, what to do; `check`, how to see that it helped. Use names that stand in the sources above "
        "where they fit. State nothing that you are not sure of."
    )
    parts = [material, *([quoted("already-there", there)] if there else []), task]
    text = "\n\n".join(part for part in parts if part)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return Question(messages, ANSWER, sample=number // len(ANGLES))


def material(sources: Mapping[str, str]) -> str:
    """The names that sources hold, quoted; `sources` maps origins to their Markdown."""
    room = MATERIAL // max(1, len(sources))
    rows = {spec: outline.markdown_rows(text) for spec, text in sources.items()}
    return "\n\n".join(quoted(spec, upto((line(name, HEAD) for name, _ in own), room)) for spec, own in rows.items())


def lacking(kept: Sequence[Scenario]) -> int:
    """How many more batches a group needs."""
    return ceil(max(0, WANTED - len(kept)) / BATCH)


def usable(given: Mapping[str, Any]) -> Scenario | None:
    """A model's scenario, each field a line; None where one says nothing."""
    clean = {name: line(given[name], HEAD if name == "symptom" else FIELD).lstrip("#*-+>`~= ") for name in FIELDS}
    thin = [name for name in ("symptom", "cause", "fix") if len(words(clean[name])) < FEWEST]
    return None if thin or not all(words(clean[name]) for name in FIELDS) else clean


def added(kept: Sequence[Scenario], given: Iterable[Mapping[str, Any]]) -> list[Scenario]:
    """`kept` and those of `given` that are usable and new, at most WANTED."""
    found = list(kept)
    for one in given:
        new = usable(one)
        if new and len(found) < WANTED and not any(same(new, other) for other in found):
            found.append(new)
    return found


def same(one: Scenario, other: Scenario) -> bool:
    """True for nearly the same symptom, and for nearly the same message with nearly the same cause."""

    def near(key: str) -> bool:
        return similar(words(one[key]), words(other[key]))

    return near("symptom") or (near("message") and near("cause"))


def markdown(group: Group, model: str, kept: Sequence[Scenario]) -> str:
    """A group's source file: a heading for each symptom, its cause below it, then what is printed and what to do."""
    origin = f"Written by {model}, a language model; no documentation states them."
    parts = [f"# Error scenarios: {group.title}", origin]
    for one in kept:
        parts += [f"## {one['symptom']}", one["cause"]]
        parts += [f"{name.capitalize()}: {one[name]}" for name in ("message", "fix", "check")]
    return "\n\n".join(parts) + "\n"
