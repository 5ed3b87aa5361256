"""What a model as teacher is asked about a chunk: `agents/teacher/prompts.toml` filled in, the same bytes each time."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agents._front_matter import divided
from agents.asking.material import quoted
from agents.teacher.chunks import Chunk
from agents.teacher.wording import rank

PROMPTS = Path(__file__).with_name("prompts.toml")
SKILLS = Path(__file__).resolve().parent.parent.parent / "skills"
PAIRS = 5  # asked for at once: more repeat each other, fewer pay for the chunk more often
KINDS = ("qa", "troubleshooting", "code", "comparison")
TEXTS = ("question", "exam_question", "answer", "span")
SCHEMA: dict[str, Any] = {  # all keys required and closed, which is what servers' strict modes ask for
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in TEXTS},
                "required": list(TEXTS),
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Prompt:
    """One question to the teacher: a chunk, a kind, and who asks how hard a thing."""

    chunk: Chunk
    kind: str
    persona: str
    difficulty: str
    sample: int

    def messages(self) -> list[dict[str, str]]:
        """One message: the quoted chunk first, so that the prompts about it share their beginning."""
        told = words()
        skills = "\n\n".join(section(one) for one in told["kinds"][self.kind]["skills"])
        asked = told["common"].format(
            pairs=PAIRS,
            skills=skills,
            persona=told["personas"][self.persona],
            difficulty=told["difficulties"][self.difficulty],
        )
        text = f"{quoted(self.chunk.source, self.chunk.text)}\n{asked}\n{told['kinds'][self.kind]['asks'].strip()}\n"
        return [{"role": "user", "content": text}]


@cache
def words() -> dict[str, Any]:
    return tomllib.loads(PROMPTS.read_text("utf-8"))


@cache
def section(name: str) -> str:
    """The text of one section of a skill, `NAME#Heading`; raises ValueError if there is none."""
    skill, _, heading = name.partition("#")
    _, body = divided((SKILLS / skill / "SKILL.md").read_text("utf-8"))
    found = re.search(rf"^## {re.escape(heading)}\n+(.*?)(?=^## |\Z)", body, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{PROMPTS.name}: skills/{skill}/SKILL.md has no section {heading!r}; write its heading")
    return found[1].strip()


def prompts(chunks: Sequence[Chunk], topics: Mapping[str, str], seed: int, samples: Iterable[int]) -> Iterator[Prompt]:
    """Every prompt in the order in which they are asked: the four kinds of a chunk together, one chunk of each topic
    in turn, all of one sample before the next. `topics` is {chunk key: topic slug}.

    Persona and difficulty are drawn by a hash of seed, chunk, kind and sample, so each prompt has its own for ever,
    and another sample of the same chunk most likely another one.
    """
    for sample in samples:
        for chunk in in_turn(chunks, topics, seed):
            for kind in KINDS:
                persona, difficulty = (drawn(what, seed, chunk, kind, sample) for what in ("personas", "difficulties"))
                yield Prompt(chunk, kind, persona, difficulty, sample)


def drawn(what: str, seed: int, chunk: Chunk, kind: str, sample: int) -> str:
    """One of the `personas` or `difficulties`, by hash."""
    listed = sorted(words()[what])
    return listed[int(rank(seed, what, chunk.key, kind, sample)[:8], 16) % len(listed)]


def in_turn(chunks: Iterable[Chunk], topics: Mapping[str, str], seed: int) -> list[Chunk]:
    """Chunks in a seeded order, one of each topic in turn."""
    queues: dict[str, list[Chunk]] = {}
    for chunk in sorted(chunks, key=lambda chunk: rank(seed, "chunk", chunk.key)):
        queues.setdefault(topics[chunk.key], []).append(chunk)
    longest = max(map(len, queues.values()), default=0)
    return [queues[topic][i] for i in range(longest) for topic in sorted(queues) if i < len(queues[topic])]
