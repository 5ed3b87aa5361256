"""Ask for a map of a domain: which source teaches which topic, then what a specialist must know of each.

What a model claims is tied to a source only where it names one that the goal has and an entry of it, letter by letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents._ask import Question
from agents._goal import Goal
from agents.asking.material import RULE, line, quoted, upto
from agents.exam.near import words
from agents.sources import outline

MATERIAL = 40_000  # characters of outlines in one question: 10,000 tokens, which leave room in a context of 32,768
MAX_CLAIMS = 6  # of each kind for one topic: more are not read, and a page holds no more
MAX_KEYWORDS = 8  # that a model may add to a topic: more, and the topics no longer differ
MAX_MISSING = 5
CLAIM = 300  # characters; two sentences
WHY = 400
SHORT = 60  # characters of a keyword or of something that is missing
KINDS = ("know", "fails")

Outline = Sequence[tuple[str, str]]
SYSTEM = f"You map a technical domain for the people who will train a specialist language model on it. {RULE}"


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(items)}


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
OPTIONAL = {"type": ["string", "null"]}
MAP = _object(
    topics=_list(_object(slug=TEXT, sources=_list(TEXT), keywords=_list(TEXT))),
    missing=_list(TEXT),
)
CLAIMS = _list(_object(text=TEXT, source=OPTIONAL, name=OPTIONAL))
STUDY = _object(why=TEXT, must_know=CLAIMS, usually_fails=CLAIMS)


def map_question(goal: Goal, outlines: Mapping[str, Outline]) -> Question:
    """Which sources teach which topic, asked once for the whole goal."""
    room = MATERIAL // max(1, len(outlines))
    material = [quoted(spec, names_only(rows, room)) for spec, rows in outlines.items()]
    topics = "\n".join(f"- {topic.slug}: {topic.title}: {topic.about}" for topic in goal.topics)
    task = (
        f"Above is what each source holds. These are the topics of the goal {goal.name}, a line each:\n{topics}\n\n"
        "For each topic, by its slug: `sources`, the ids of the sources that can teach it, the best first, none if "
        f"none can; `keywords`, up to {MAX_KEYWORDS} names or terms of these sources that tell the topic from the "
        f"others. Then `missing`: up to {MAX_MISSING} things that a specialist needs and no source holds."
    )
    return Question(messages("\n\n".join([*material, task])), MAP)


def study_question(
    title: str, about: str, outlines: Mapping[str, Outline], asked: set[str], learned: Sequence[str]
) -> Question:
    """What a specialist must know of one topic; `asked` are its words, `learned` what earlier rounds and runs say."""
    room = MATERIAL // max(1, len(outlines))
    material = [quoted(spec, upto(told(rows, asked), room)) for spec, rows in outlines.items()]
    if learned:
        material.append(quoted("earlier-runs", upto((f"- {one}" for one in learned), MATERIAL // 8)))
    task = (
        f"The topic is: {title}: {about}\n\n"
        "Say `why` it is worth teaching, in one sentence. `must_know`: what a specialist of this topic must know. "
        f"`usually_fails`: where practice usually goes wrong, and how it shows. At most {MAX_CLAIMS} of each, one or "
        "two sentences each. Where an entry of a source above supports one, give that source's id as `source` and the "
        "entry's name, letter by letter, as `name`; else null for both. Never invent a name."
    )
    return Question(messages("\n\n".join([*material, task])), STUDY)


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def names_only(rows: Outline, limit: int) -> str:
    """What a source is, then as many names of its entries as fit."""
    head = f"{rows[0][0]}: {rows[0][1]}" if rows else ""
    return upto([line(head, limit), *(line(name, SHORT) for name, _ in rows[1:])], limit)


def told(rows: Outline, asked: set[str]) -> list[str]:
    """The entries of a source with what is said of each, those with the most of the asked words first."""
    score = {at: len(asked & {*outline.words(name), *outline.words(said)}) for at, (name, said) in enumerate(rows)}
    ordered = sorted(score, key=lambda at: (-score[at], at))
    return [line(f"{rows[at][0]}: {rows[at][1]}".rstrip(": "), CLAIM) for at in ordered]


# -- what comes back ------------------------------------------------------------------------------------------


def mapping(parsed: Mapping[str, Any], goal: Goal) -> dict[str, tuple[list[str], list[str]]]:
    """{slug: (sources, keywords)} of an answer to `map_question`: only what the goal has, each once."""
    slugs, found = {topic.slug for topic in goal.topics}, {}
    for row in parsed["topics"]:
        if row["slug"] in slugs and row["slug"] not in found:
            sources = [spec for spec in dict.fromkeys(row["sources"]) if spec in goal.sources]
            found[row["slug"]] = sources, terms(row["keywords"], MAX_KEYWORDS)
    return found


def terms(given: Sequence[str], most: int) -> list[str]:
    """Short phrases of a model's: a line each, each once, with a word in it."""
    clean = [line(one, SHORT).strip("`") for one in given]
    return [one for one in dict.fromkeys(clean) if words(one)][:most]


def claims(parsed: Mapping[str, Any], outlines: Mapping[str, Outline]) -> list[dict[str, Any]]:
    """The claims of an answer to `study_question`, each with its source and name where both are really there."""
    made = []
    for kind, key in zip(KINDS, ("must_know", "usually_fails"), strict=True):
        for row in parsed[key][:MAX_CLAIMS]:
            if words(text := line(row["text"], CLAIM)):
                source, name = evidence(row["source"], row["name"], outlines)
                made.append({"kind": kind, "text": text, "source": source, "name": name})
    return made


def evidence(source: str | None, name: str | None, outlines: Mapping[str, Outline]) -> tuple[str | None, str | None]:
    """(source, the entry's name as its outline has it), both None where there is no such entry."""
    bare = (name or "").strip().strip("`").removesuffix("()")
    own = f"{(source or '').partition(':')[2]}."
    for known, _ in outlines.get(source or "", ()):
        if bare and bare in (known, own + known):
            return source, known
    return None, None
