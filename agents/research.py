"""Map the domain: which of the goal's topics each source can teach, and which topics no source covers.

    bin/agent research runs/gpu-ops --once

Reads   goal.md
        00-orient/recalled.json   what earlier rounds and runs learned about these topics
Writes  topics.json   topics.v1: each topic with its keywords and its sources
        report.md     the same, for people
        tools.json    tools.v1: which tools a model could use, where this machine allows the step any
        tools/*.json  tool.v1: every call of one
Asks    role researcher: one map of all topics, then one question per topic, looked up with the tools that the step is
        allowed; with no model, from the outlines alone
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents._agent import GiveUp, main
from agents._ask import Question, Unanswered
from agents._goal import Goal, Topic
from agents._job import Job
from agents.asking import domain
from agents.pages.domain import map_report
from agents.sources import outline
from agents.sources.modules import Unreadable

ROLE = "researcher"
MAX_TOPICS = 12  # that are asked about one by one: past this, each gets too few examples to move the evaluation
ENOUGH = 0.4  # of a source's best score: a topic that scores as much is one of the source's topics too
LEAST = 1.0  # below this, chance words such as "set" were all that matched; chosen on the two shipped goals
NAMED = 6.0  # what it is worth that the goal names the source itself: as much as three rare words
SHOWN = 6  # names per source in the report
COMMON = frozenset(
    "a an and are as at be by for from how in into is it its no not of on or such that the them they this to up what "
    "when where which who why with without can do does between other each every them their there these those".split()
)

Outline = list[tuple[str, str]]
Heard = tuple[dict[str, Any] | None, tuple[str, str]]  # what a model said, None where it is of no use; (profile, model)
NOBODY = ("", "")


@dataclass(frozen=True)
class Match:
    """One topic found in one source: how well, and by which words."""

    score: float
    words: tuple[str, ...]


def research(job: Job) -> None:
    """Score every topic against every source's outline, and write the map."""
    outlines: dict[str, Outline] = {}
    for spec in job.goal.sources:
        job.say(f"looking into {spec}")
        try:
            outlines[spec] = outline.outline(spec, job.allowed_paths)
        except Unreadable as error:
            raise GiveUp(str(error), kind="goal") from None
    matches = mapped(job.goal, outlines)
    document = topics_document(job.goal, matches)
    recalled = job.read("00-orient/recalled.json")["observations"]
    text = report(job.goal, document, outlines, recalled)
    if job.models.profile(ROLE):
        missing = studied(job, document, outlines, recalled)
        if "asked" in document:
            text = map_report(document, missing, recalled)
    job.write("topics.json", document)
    job.write("report.md", text)


def studied(
    job: Job, document: dict[str, Any], outlines: dict[str, Outline], observations: list[dict[str, Any]]
) -> list[str]:
    """Put a model's map and claims into the document, and return what it misses; what is of no use changes nothing."""
    job.say(f"asking {ROLE} for a map of {len(document['topics'])} topics")
    drawn, by = heard(job.models.one(ROLE, domain.map_question(job.goal, outlines)))
    if drawn:
        remap(document, domain.mapping(drawn, job.goal), job.goal.sources)
    rows, questions = study_questions(job.goal, document, outlines, observations)
    found = studies(job, questions)
    for row, (study, _) in zip(rows, found, strict=True):
        if study:
            row["why"] = domain.line(study["why"], domain.WHY) or row["why"]
            row["claims"] = domain.claims(study, outlines)
    spoke = Counter(who for said, who in [(drawn, by), *found] if said)
    job.say(f"{spoke.total()} of {1 + len(found)} answers were of use")
    if spoke:
        profile, model = max(sorted(spoke), key=lambda who: spoke[who])
        who = {"profile": profile, "model": domain.line(model, domain.SHORT) or "unnamed"}
        document["asked"] = {**who, "questions": 1 + len(found), "answered": spoke.total()}
    return domain.terms(drawn["missing"], domain.MAX_MISSING) if drawn else []


def studies(job: Job, questions: list[Question]) -> list[Heard]:
    """What a model says of each topic; with tools, where this machine allows it any."""
    if not job.may_look_up:
        found = {place: heard(answer) for place, answer in job.models.all(ROLE, questions)}
        return [found[place] for place in range(len(questions))]
    from agents._consult import Consulted, consult_all  # brings in the MCP client, which other runs do without

    texts = ["\n\n".join(one["content"] for one in question.messages) for question in questions]
    looked = consult_all(job, ROLE, texts, schema=domain.STUDY)
    return [(one.done, one.by) if isinstance(one, Consulted) else (None, NOBODY) for one in looked]


def heard(answer: dict[str, Any] | Unanswered) -> Heard:
    """An answer's document, None where it is of no use, and who gave it."""
    said = useful(answer)
    return (None, NOBODY) if isinstance(answer, Unanswered) else (said, (answer["profile"], answer["model"]))


def useful(answer: dict[str, Any] | Unanswered) -> dict[str, Any] | None:
    """The document of an answer, None for one that was given up, refused, cut off or unfit."""
    return None if isinstance(answer, Unanswered) or answer["error"] else answer["parsed"]


def study_questions(
    goal: Goal, document: dict[str, Any], outlines: dict[str, Outline], observations: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[Question]]:
    """(the topics that are asked about one by one, the question about each)."""
    rows, about = document["topics"][:MAX_TOPICS], {topic.slug: topic.about for topic in goal.topics}
    return rows, [study_question(row, about[row["slug"]], outlines, observations) for row in rows]


def study_question(
    row: dict[str, Any], about: str, outlines: dict[str, Outline], observations: list[dict[str, Any]]
) -> Question:
    """The question about one topic, with its own sources and what was learned about it."""
    own = {spec: outlines[spec] for spec in row["sources"]}
    asked = set(outline.words(" ".join(row["keywords"]))) - COMMON
    learned = [one["text"] for one in observations if row["slug"] in one["topics"]]
    return domain.study_question(row["title"], about, own, asked, learned)


def remap(document: dict[str, Any], found: dict[str, tuple[list[str], list[str]]], specs: Sequence[str]) -> None:
    """Give each topic the sources that a model maps to it, where it names any, and its further keywords."""
    for row in document["topics"]:
        sources, more = found.get(row["slug"], ([], []))
        row["sources"] = sources or row["sources"]
        row["keywords"] = list(dict.fromkeys([*row["keywords"], *more]))
    mapped_to = {spec for row in document["topics"] for spec in row["sources"]}
    document["unmapped"] = [spec for spec in specs if spec not in mapped_to]


def keywords(topic: Topic) -> list[str]:
    """Return the words that tell a topic, those in backticks whole and first.

    >>> keywords(Topic("x", "Out of memory", "`empty_cache` and pools"))
    ['empty_cache', 'out', 'memory', 'empty', 'cache', 'pools', 'pool']
    """
    text = f"{topic.title} {topic.about}"
    found = re.findall(r"`([^`]+)`", text)
    for word in re.findall(r"[A-Za-z0-9]+", text):
        lower = word.lower()
        if lower not in COMMON and len(lower) > 1:
            found += [lower, outline.stem(lower)]
    return list(dict.fromkeys(found))


def mapped(goal: Goal, outlines: dict[str, Outline]) -> dict[str, dict[str, Match]]:
    """Return {spec: {topic slug: Match}}: for each source the topics that it teaches, none if no word fits.

    A word counts by how rare it is among the sources and the topics (tf-idf), and more in a name than in a sentence.
    """
    counts = {spec: counted(spec, rows) for spec, rows in outlines.items()}
    asked = {topic.slug: set(outline.words(" ".join(keywords(topic)))) - COMMON for topic in goal.topics}
    rarity = {word: rare(word, counts, asked) for found in asked.values() for word in found}
    out = {}
    for spec, found in counts.items():
        length = math.log(8 + sum(found.values()))
        scored = {}
        for topic in goal.topics:
            worth = {word: math.log1p(found[word]) * rarity[word] for word in asked[topic.slug] if found[word]}
            best = sorted(worth, key=lambda word: (-worth[word], word))
            score = 6 * sum(worth.values()) / length + NAMED * names(topic, spec)
            scored[topic.slug] = Match(score, tuple(best[:5]))
        top = max(match.score for match in scored.values())
        out[spec] = {slug: one for slug, one in scored.items() if one.score >= max(LEAST, ENOUGH * top)}
    return out


def counted(spec: str, rows: Outline) -> Counter[str]:
    """Return how often each word stands in an outline; its own name counts three times, the names in it twice."""
    found = Counter(outline.words(spec.partition(":")[2]) * 3)
    for name, said in rows:
        found.update(outline.words(name) * 2 + outline.words(said))
    return found


def rare(word: str, counts: dict[str, Counter[str]], asked: dict[str, set[str]]) -> float:
    """Return how telling a word is: few sources hold it, and few topics ask for it."""
    holding = sum(1 for found in counts.values() if found[word])
    asking = sum(1 for found in asked.values() if word in found)
    return math.log((1 + len(counts)) / (0.5 + holding)) / asking + 0.1 / asking


def names(topic: Topic, spec: str) -> bool:
    """Say whether a topic's text names a source: `torch.cuda`, or or `errno`, the last part of `catalogue:errno`."""
    target = spec.partition(":")[2]
    named = [*re.findall(r"`([^`]+)`", topic.about), topic.title.lower()]
    return any(one in (spec, target, target.rpartition(".")[2]) for one in named)


def topics_document(goal: Goal, matches: dict[str, dict[str, Match]]) -> dict[str, Any]:
    """Return topics.v1."""
    topics = []
    for topic in goal.topics:
        sources = [spec for spec in goal.sources if topic.slug in matches[spec]]
        sources.sort(key=lambda spec: (-round(matches[spec][topic.slug].score, 6), spec))
        topics.append(
            {
                "slug": topic.slug,
                "title": topic.title,
                "why": why(topic, sources, matches),
                "keywords": keywords(topic),
                "sources": sources,
            }
        )
    unmapped = [spec for spec in goal.sources if not matches[spec]]
    return {"schema": "topics.v1", "goal": goal.name, "topics": topics, "unmapped": unmapped}


def why(topic: Topic, sources: list[str], matches: dict[str, dict[str, Match]]) -> str:
    """Return in a sentence why a topic can be taught from its sources."""
    if not sources:
        return "The goal asks for it, and no source speaks of it."
    told = Counter(word for spec in sources for word in matches[spec][topic.slug].words)
    best = sorted(told, key=lambda word: (-told[word], word))[:6]
    where = "its one source" if len(sources) == 1 else f"its {len(sources)} sources"
    return f"The goal asks for it; {', '.join(best)} stand in {where}."


def report(
    goal: Goal, document: dict[str, Any], outlines: dict[str, Outline], observations: list[dict[str, Any]]
) -> str:
    """Return the map for people: each topic, why, its sources and what they hold, then what is missing."""
    lines = [f"# What {goal.name} can teach", ""]
    lines += ["| topic | sources | told by |", "|---|---|---|"]
    for topic in document["topics"]:
        lines.append(
            f"| {cell(topic['title'])} | {len(topic['sources'])} | {cell(', '.join(topic['sources'][:3]) or '-')} |"
        )
    for topic in document["topics"]:
        lines += ["", f"## {topic['title']}", "", topic["why"], "", f"Keywords: {', '.join(topic['keywords'])}.", ""]
        asked = set(outline.words(" ".join(topic["keywords"]))) - COMMON
        lines += [f"- {spec}: {held(outlines[spec], asked)}" for spec in topic["sources"]]
        learned = [one for one in observations if topic["slug"] in one["topics"]]
        lines += [f"- recalled from {one['run']}, round {one['round']}: {one['text']}" for one in learned]
    gaps = [topic["title"] for topic in document["topics"] if not topic["sources"]]
    lines += ["", "## Gaps", ""]
    lines += [f"- {title}: no source speaks of it; add one, or remove the topic" for title in gaps]
    lines += [
        f"- {spec}: fits no topic; its facts go to the topic whose words they hold" for spec in document["unmapped"]
    ]
    return "\n".join([*lines, *([] if gaps or document["unmapped"] else ["None: every topic has a source."])]) + "\n"


def held(rows: Outline, asked: set[str]) -> str:
    """Return in a line what an outline holds, the names with the most of the asked words first."""
    said = {name: len(asked & {*outline.words(name), *outline.words(line)}) for name, line in rows[1:]}
    shown = ", ".join(f"`{name}`" for name in sorted(said, key=lambda name: -said[name])[:SHOWN])
    return f"{len(said)} {'entry' if len(said) == 1 else 'entries'}" + (f", such as {shown}" if shown else "")


def cell(text: str) -> str:
    """Return a text that cannot break a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main(research))
