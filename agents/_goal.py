"""Read a goal file: the one thing that a person writes.

Front matter between two `---` lines, then Markdown with a `## Topics` list of `- **Title**: what it covers`.
Every error is one line that says where, what, and what to do.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from agents._front_matter import Malformed, divided, mapping

MAX_BYTES = 1_000_000  # a goal is a page; a larger file is a mistake, and YAML takes a second per megabyte
MAX_TOPICS = 40  # far more than a round can teach; a longer list is data that strayed into the goal
MAX_SOURCES = 200  # at 0.2 s each, already a minute of reading
MAX_EXAMPLES = 1_000_000  # pairs; the near-duplicate search holds all of them in memory
KEYS = ("name", "base", "sources", "examples", "rounds", "budget", "seed")
BUDGET = ("wall_hours", "gpu_hours", "usd", "tokens")
KINDS = ("pydoc", "file", "dir", "man", "url", "catalogue")
CATALOGUES = ("errno", "signal", "nvml", "torch-errors")
RESERVED = ("memory",)  # runs/memory/ is what every run may know
NAME = re.compile(r"[0-9a-z][0-9a-z_-]{0,99}")
TOPIC = re.compile(r"[-*]\s+\*\*(.+?):?\*\*\s*:?\s*(.*)")
PAGE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.:+@-]{0,80}?)(?:\(([0-9][a-z0-9]{0,8})\))?")


class GoalError(Exception):
    """A goal that cannot be run: `where: what is wrong; what to do`, in one line."""


@dataclass(frozen=True)
class Topic:
    """One subject worth teaching."""

    slug: str
    title: str
    about: str


@dataclass(frozen=True)
class Goal:
    """A goal file, read and checked; `text` is the whole file as it was."""

    name: str
    base: str
    sources: tuple[str, ...]
    examples: int
    rounds: int | str
    budget: dict[str, float] = field(hash=False)
    seed: int
    topics: tuple[Topic, ...]
    text: str


def parse(text: str, where: str = "goal.md") -> Goal:
    """Return the goal written in `text`; raises GoalError naming `where`."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise GoalError(
            f"{where}: the file is larger than {MAX_BYTES} bytes; a goal is a page, put data into a file: source"
        )
    try:
        matter, body = divided(text)
        values = mapping(matter)
    except Malformed as error:
        raise GoalError(f"{where}: {error}") from None
    for key in values:
        if key not in KEYS:
            raise GoalError(f"{where}: {key}: is not a key of a goal; {meant(str(key), KEYS)}")
    return Goal(
        name=name_of(values.get("name"), where),
        base=text_of(values.get("base", "embedded"), "base", where),
        sources=sources_of(values.get("sources"), where),
        examples=whole(values.get("examples", 1500), "examples", where, 1, MAX_EXAMPLES),
        rounds=rounds_of(values.get("rounds", 1), where),
        budget=budget_of(values.get("budget") or {}, where),
        seed=whole(values.get("seed", 0), "seed", where, 0, 2**63 - 1),
        topics=topics_of(body, where),
        text=text,
    )


def meant(key: str, known: tuple[str, ...] | list[str]) -> str:
    """Return what to do about an unknown word: the nearest known one, or all of them."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return "known are " + ", ".join(known) if len(known) <= 12 else "correct or remove it"


def name_of(value: Any, where: str) -> str:
    """Return a goal's name, which becomes a folder under runs/."""
    if value is None:
        raise GoalError(f"{where}: name: is missing; add a line like `name: gpu-ops`")
    if not isinstance(value, str) or not NAME.fullmatch(value):
        rule = "use up to 100 of a-z, 0-9, _ and -, beginning with a letter or digit"
        raise GoalError(f"{where}: name: {shown(value)} cannot name a run; {rule}")
    if value in RESERVED:
        raise GoalError(f"{where}: name: {value!r} is kept for the memory that runs share; choose another name")
    return value


def text_of(value: Any, key: str, where: str) -> str:
    """Return a short text on one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 1000:
        raise GoalError(f"{where}: {key}: {shown(value)} is no text on one line; write a word, or quote it")
    return value.strip()


def whole(value: Any, key: str, where: str, low: int, high: int) -> int:
    """Return a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GoalError(f"{where}: {key}: {shown(value)} is not a whole number from {low} to {high}; correct it")
    return value


def rounds_of(value: Any, where: str) -> int | str:
    """Return the number of rounds, or "forever"."""
    if value == "forever":
        return "forever"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise GoalError(
            f"{where}: rounds: {shown(value)} is neither a whole number from 1 nor forever; write `rounds: 1`"
        )
    return value


def budget_of(value: Any, where: str) -> dict[str, float]:
    """Return the limits on what a run may spend; a limit that is not given is not set here."""
    if not isinstance(value, dict):
        raise GoalError(
            f"{where}: budget: {shown(value)} is no mapping; write it like `budget: {{usd: 0, wall_hours: 2}}`"
        )
    for key, amount in value.items():
        if key not in BUDGET:
            raise GoalError(f"{where}: budget.{key}: is not a limit of a budget; {meant(str(key), BUDGET)}")
        number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not number or not math.isfinite(amount) or amount < 0:
            raise GoalError(f"{where}: budget.{key}: {shown(amount)} is not a number from 0; correct it")
    return {key: float(value[key]) for key in BUDGET if key in value}


def sources_of(value: Any, where: str) -> tuple[str, ...]:
    """Return the source specs, each of a known kind and well formed; `check_sources` says whether they exist."""
    if not isinstance(value, list) or not value:
        raise GoalError(f"{where}: sources: is no list with something in it; add a line like `  - pydoc:torch.cuda`")
    if len(value) > MAX_SOURCES:
        raise GoalError(f"{where}: sources: {len(value)} are too many; keep the {MAX_SOURCES} that matter most")
    seen = set()
    for item in value:
        if isinstance(item, dict) and len(item) == 1:  # `- file: notes.md`, which YAML reads as a mapping
            key, target = next(iter(item.items()))
            raise GoalError(f"{where}: sources: {key}: {target} has a space after the colon; write {key}:{target}")
        spec = text_of(item, "sources", where)
        split(spec, where)
        if spec in seen:
            raise GoalError(f"{where}: sources: {spec} is listed twice; keep one of them")
        seen.add(spec)
    return tuple(item.strip() for item in value)


def split(spec: str, where: str) -> tuple[str, str]:
    """Return (kind, target) of a source spec such as `pydoc:torch.cuda`; raises GoalError if it is malformed."""
    kind, colon, target = spec.partition(":")
    target = target.strip()
    if not colon or kind not in KINDS:
        near = meant(kind, KINDS)
        raise GoalError(f"{where}: sources: {shown(spec)} names no known kind of source; {near}")
    if not target:
        raise GoalError(f"{where}: sources: {spec} names nothing after the colon; write what to read, or remove it")
    if kind == "pydoc" and not all(part.isidentifier() for part in target.split(".")):
        raise GoalError(f"{where}: sources: {spec} is no module's name; write it as in `import torch.cuda`")
    if kind == "catalogue" and target not in CATALOGUES:
        raise GoalError(f"{where}: sources: {spec} is no catalogue; {meant(target, CATALOGUES)}")
    if kind == "man" and not PAGE.fullmatch(target):
        raise GoalError(f"{where}: sources: {spec} is no manual page's name; write man:ls or man:open(2)")
    return kind, target


def topics_of(body: str, where: str) -> tuple[Topic, ...]:
    """Return the bullets of the `## Topics` section."""
    section = re.search(
        r"^##[ \t]+Topics[ \t]*$(.*?)(?=^#{1,2}[ \t]|\Z)", body, re.DOTALL | re.MULTILINE | re.IGNORECASE
    )
    bullet = "add bullets like `- **CUDA memory**: allocation, caching, fragmentation`"
    if not section:
        raise GoalError(f"{where}: has no `## Topics` section; {bullet}")
    bullets = re.sub(r"\n[ \t]+(?=\S)(?![-*][ \t])", " ", section[1])  # a bullet's further lines are indented
    topics: list[Topic] = []
    for line in bullets.splitlines():
        match = TOPIC.fullmatch(line.strip())
        if match:
            topics.append(Topic(slug(match[1]), match[1].strip(), match[2].strip()))
        elif re.match(r"[-*]\s", line.strip()):
            raise GoalError(
                f"{where}: topics: {shown(line.strip())} has no bold title; write `- **Title**: what it covers`"
            )
    if not topics:
        raise GoalError(f"{where}: topics: the section is empty; {bullet}")
    if len(topics) > MAX_TOPICS:
        raise GoalError(f"{where}: topics: {len(topics)} are too many to teach; keep at most {MAX_TOPICS}")
    for topic in topics:
        if [other.slug for other in topics].count(topic.slug) > 1:
            raise GoalError(f"{where}: topics: {topic.title!r} is there twice; give each topic its own title")
    return tuple(topics)


def slug(title: str) -> str:
    """Return a title as a name of a-z, 0-9 and -.

    >>> slug("PyTorch memory & OOM")
    'pytorch-memory-oom'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "topic"


def shown(value: Any) -> str:
    """Return a value as it can stand in a one-line error."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
