"""What a run will ask, as far as that is known before: the steps' own questions, made of the goal and its sources.

Exact are the prompts of `generate`, as long as no source is added; the others depend on earlier answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

from agents import collect, generate, orient, research
from agents._ask import Question
from agents._config import Config
from agents._goal import Goal
from agents.asking import domain, lookups, preference, scenarios
from agents.exam.scoring import judge_question
from agents.models import structured
from agents.models.profile import Profile
from agents.sources import outline
from agents.sources.modules import Unreadable
from agents.sources.reader import Reader, Source, Unreachable, source_row
from agents.teacher.fact import Fact
from agents.teacher.facts import topic_of
from agents.teacher.mixture import shares
from agents.teacher.pair import id_of
from agents.teacher.prompts import SCHEMA, Prompt
from agents.teacher.scale import LISTED, Scale
from bus import files, schema

NOTHING = {"id": "x", "question": "", "answer": ""}  # an item without texts: what is left are the words around it


class Unread(Exception):
    """A source that cannot be read; one line for people."""


@dataclass(frozen=True)
class Sent:
    """How large a question is: bytes of its messages, bytes of a schema beside them, messages."""

    bytes: int
    schema: int
    messages: int


def sent(question: Question, profile: Profile) -> Sent:
    """How large a question is when it goes to a profile, which is told the schema in words if it knows no other way."""
    told = sum(len(one["content"].encode("utf-8", "replace")) for one in question.messages)
    beside = 0
    if question.schema and "json_schema" in profile.capabilities:
        beside = len(files.canonical(question.schema))
    elif question.schema:
        told += len(f"\n\n{structured.instruction(question.schema)}".encode())
    return Sent(told, beside, len(question.messages))


@dataclass
class Ahead:
    """A goal and its sources as the steps of a run in `folder` will find them; `document` is topics.v1."""

    goal: Goal
    config: Config
    flow: Mapping[str, Mapping[str, Any]]
    folder: Path
    outlines: dict[str, research.Outline]
    document: dict[str, Any]
    recalled: list[dict[str, Any]]
    sources: dict[str, Source]
    steps: dict[str, str] = field(default_factory=dict)  # agent -> its step
    added: list[tuple[Source, dict[str, Any]]] = field(default_factory=list)  # what a model wrote, with its rows

    @property
    def scale(self) -> Scale:
        return Scale(**(self.flow[self.steps["generate"]].get("settings") or {}).get("scale", {}))

    @property
    def wanted(self) -> int:
        """Pairs that the teacher is to give in the first round."""
        return shares(self.goal.examples, self.scale)[0]

    def has_tools(self, agent: str) -> bool:
        return bool(self.config.tools.get(self.steps.get(agent, "")))

    # -- the questions --------------------------------------------------------------------------------------

    def map(self) -> Question:
        return domain.map_question(self.goal, self.outlines)

    def studies(self) -> list[Question]:
        return research.study_questions(self.goal, self.document, self.outlines, self.recalled)[1]

    def lookups(self) -> list[Question]:
        """What `collect` may look up: a question for each topic."""
        about = {topic.slug: topic.about for topic in self.goal.topics}
        rows = self.document["topics"]
        texts = [lookups.question(row, about.get(row["slug"], ""), row["sources"]) for row in rows]
        return [Question([{"role": "user", "content": text}]) for text in texts]

    def materials(self) -> dict[scenarios.Group, str]:
        """The groups of error scenarios, each with what its questions quote."""
        texts = {spec: one.text for spec, one in self.sources.items()}
        return collect.materials(self.goal, self.document["topics"], texts)

    def batches(self) -> list[Question]:
        """The first asking for error scenarios, group by group."""
        numbers = range(scenarios.lacking([]))
        return [scenarios.question(group, said, n, ()) for group, said in self.materials().items() for n in numbers]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """source.v1 of each source."""
        names, topics = collect.identities(self.sources), self.document["topics"]
        own = [source_row(names[s], one, collect.topics_of(s, topics)) for s, one in self.sources.items()]
        return [*own, *(row for _, row in self.added)]

    @cached_property
    def texts(self) -> dict[str, str]:
        """{source id: text}."""
        names = collect.identities(self.sources)
        own = {names[spec]: one.text for spec, one in self.sources.items()}
        return own | {row["id"]: one.text for one, row in self.added}

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Every prompt of the first round, in the order of asking."""
        return list(generate.asking(self.texts, self.topic, self.goal.seed)[1])

    @cached_property
    def own(self) -> dict[str, list[str]]:
        """{source id: the slugs of its topics}."""
        return {row["id"]: row["topics"] for row in self.rows}

    @cached_property
    def sorts(self) -> dict[str, str]:
        """{source id: what sort of source it is: pydoc, catalogue, generated, …}; how much one tells depends on it."""
        return {row["id"]: row["origin"].partition(":")[0] for row in self.rows}

    def topic(self, source: str, text: str) -> str:
        return topic_of(Fact("", (), text, ()), self.own[source], self.document["topics"])

    def sizes(self, profile: Profile) -> list[int]:
        """Bytes of all prompts up to each one, a 0 before them."""
        each = (sent(Question(one.messages(), SCHEMA, one.sample), profile).bytes for one in self.prompts)
        return [0, *accumulate(each)]

    @cached_property
    def facts(self) -> list[Fact]:
        return generate.facts_of(self.rows, self.texts, self.document["topics"])

    @cached_property
    def cut(self) -> list[dict[str, Any]]:
        """The examples that `generate` cuts from the sources before it asks a model: as many as the exam needs."""
        there = self.first(shares(self.goal.examples, self.scale)[1])
        return self.first(self.goal.examples) if generate.lacking(there, self.scale) else there

    def beside(self, taught: float) -> list[dict[str, Any]]:
        """Those beside so many pairs of a model: more, where it gives less than its share."""
        wanted = ceil(self.goal.examples - taught)
        return self.first(wanted) if wanted > shares(self.goal.examples, self.scale)[1] else self.cut

    def first(self, wanted: int) -> list[dict[str, Any]]:
        listed = frozenset(row["id"] for row in self.rows if row["origin"] in LISTED)
        return generate.first(self.facts, listed, wanted, self.goal.seed, self.scale)

    def empty_judged(self) -> Question:
        """What a judge is asked about a pair, without the pair."""
        span = {"source": "x", "start": 0, "end": 0}
        return judge_question({**NOTHING, "id": id_of("", ""), "spans": [span]}, {"x": ""})

    def empty_compared(self) -> Question:
        """What a judge is asked about two answers, without them."""
        return preference.question(NOTHING, "", "")

    def with_answers(self, document: dict[str, Any], added: list[tuple[Source, dict[str, Any]]]) -> Ahead:
        """The same with another map of the domain, and with sources that a model wrote."""
        return replace(self, document=document, added=added)


def look_ahead(
    goal: Goal,
    config: Config,
    flow: Mapping[str, Mapping[str, Any]],
    folder: Path,
    say: Callable[[str], None],
) -> Ahead:
    """Read the goal's sources as `research` and `collect` will; raises Unread."""
    outlines, sources = {}, {}
    try:
        reader = Reader(list(goal.sources), config.allowed_paths)
        for spec in goal.sources:
            say(f"reading {spec}")
            outlines[spec] = outline.outline(spec, config.allowed_paths)
            sources[spec] = reader.read(spec)
    except (Unreadable, Unreachable) as error:
        raise Unread(str(error)) from None
    document = research.topics_document(goal, research.mapped(goal, outlines))
    recalled = recalled_by(goal, folder, steps_of(flow))
    return Ahead(goal, config, flow, folder, outlines, document, recalled, sources, steps_of(flow))


def recalled_by(goal: Goal, folder: Path, steps: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the run recalled from others, or will: what they tell from then on changes none of its questions."""
    try:
        found = files.read_json(folder / steps.get("orient", "") / "outbox" / "r1" / "recalled.json")
        return list(schema.check(found, "recalled.v1")["observations"])
    except FileNotFoundError:
        return orient.recalled_for(goal, folder, 1, folder.name)[0]


def steps_of(flow: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """{agent: the first step that it serves}."""
    found: dict[str, str] = {}
    for name in sorted(flow):
        found.setdefault(flow[name].get("agent", ""), name)
    return found


def largest(questions: Sequence[Question], profile: Profile) -> int:
    """Bytes of the largest of some questions, schema and all."""
    return max((one.bytes + one.schema for one in (sent(q, profile) for q in questions)), default=0)
