"""Make questions and answers from the collected sources, each with the span that its answer comes from.

    bin/agent generate runs/gpu-ops --once

Reads   goal.md
        10-research/topics.json     topics.v1: what each pair is about
        20-collect/sources.jsonl    source.v1: which sources there are
        20-collect/sources/*.md     what the pairs are cut from
        before/80-improve/next.json next.v1: topics to strengthen, from the second round on
        before/30-generate/examples/*.jsonl   example.v1: the last round's pairs, which are all kept
Writes  examples/*.jsonl            example.v1: one file per kind, rows by id
        generated.json              generated.v1: what the teacher was asked, and what became of it; only with a teacher
        left_out.jsonl              left-out.v1: its pairs that are no examples, with the reason; only with a teacher
Asks    role teacher: pairs about each chunk of the sources; with no model the pairs are cut by rules alone
        role judge: in advance, what `filter` will ask about the teacher's pairs

How extractive and model-made pairs are mixed: `agents/teacher/mixture.py`. What the teacher is asked, by whom and how
hard: `agents/teacher/prompts.py`. A try that is ended asks the same again, and finds what was answered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from agents._agent import GiveUp, main
from agents.exam.near import tally
from agents.exam.quality import same_question
from agents.teacher.chunks import Chunk, chunks
from agents.teacher.compare import comparisons
from agents.teacher.distil import Account, Teacher
from agents.teacher.fact import Fact
from agents.teacher.facts import pool, topic_of
from agents.teacher.families import family_id, group
from agents.teacher.later import extended
from agents.teacher.mixture import mixed, shares
from agents.teacher.pair import Pair
from agents.teacher.prompts import Prompt, prompts
from agents.teacher.scale import KINDS, LISTED, Scale, choose, is_listed
from agents.teacher.wording import Example, worded

LEAST_GROWTH = 0.1  # of the pairs, in a later round: less could not be seen in its scores
SAMPLES = 3  # times that a round asks the same of a chunk: more repeat what was found


def generate(job: Any) -> None:
    made = Making(job)
    before = [row for name in job.glob("before/30-generate/examples/*.jsonl") for row in job.read(name)]
    teacher = Teacher(job, made.texts, made.topic) if job.models.profile("teacher") else None
    examples, wanted = made.later(before, teacher) if before else made.first(teacher)
    for kind in KINDS:
        job.write(f"examples/{kind}.jsonl", sorted((e for e in examples if e["kind"] == kind), key=lambda e: e["id"]))
    if teacher:
        teacher.ask_judge(one for one in examples if "made" in one)
        rows = [one.row() for one in teacher.account.left_out]
        job.write("left_out.jsonl", sorted(rows, key=lambda row: tuple(row.values())))
        document = summary(job, teacher.account, examples, wanted, made.chunks)
        job.write("generated.json", document)
        job.say(f"the teacher: {told(teacher.account, document)}")
    job.say(statistics(examples, made.listed), pairs=len(examples), families=len({e["family"] for e in examples}))


class Making:
    """The sources of a run, read once, and the two ways to make examples of them: a first round, and a later one."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.topics = job.read("10-research/topics.json")["topics"]
        self.rows = job.read("20-collect/sources.jsonl")
        self.texts = {row["id"]: job.read(f"20-collect/{row['file']}") for row in self.rows}
        self.facts = facts_of(self.rows, self.texts, self.topics)
        self.listed = frozenset(row["id"] for row in self.rows if row["origin"] in LISTED)
        self.own = {row["id"]: row["topics"] for row in self.rows}
        self.chunks: list[Chunk] = []
        job.say(f"{len(self.facts)} facts in {len(self.rows)} sources")

    def first(self, teacher: Teacher | None) -> tuple[list[Example], int]:
        """The examples of a first round, and how many pairs the model was to give."""
        job, scale = self.job, Scale(**self.job.settings.get("scale", {}))
        goal = job.goal.examples
        wanted, least = shares(goal, scale) if teacher else (0, goal)

        def cut(count: int) -> list[Example]:
            return first(self.facts, self.listed, count, job.seed, scale)

        there = cut(least)  # as many as the exam needs, before anybody is paid
        if teacher and lacking(there, scale):  # more of them may hold more families
            least, there = goal, cut(goal)
        if lack := lacking(there, scale):
            raise GiveUp(f"goal {job.goal.name}: {lack}; add sources with more documented objects", kind="goal")
        if not teacher:
            return there, wanted
        pairs, taught = self.asked(teacher, None, there, wanted)
        if goal - taught > least:  # the model gave less than its share
            there = cut(goal - taught)
        return self.mixed(teacher, there, pairs, wanted), wanted

    def later(self, before: list[Example], teacher: Teacher | None) -> tuple[list[Example], int]:
        """The last round's examples and new ones about its weakest topics: the model's first, as far as they go."""
        job = self.job
        plan = job.read("before/80-improve/next.json") or {"focus": [], "examples": 0}
        focus = [row["topic"] for row in plan["focus"]]
        goal = max(plan["examples"], ceil(len(before) * (1 + LEAST_GROWTH)))
        wanted, there = 0, before
        if teacher and focus:
            wanted = goal - len(before)
            pairs, _ = self.asked(teacher, focus, before, wanted)
            there = self.mixed(teacher, before, pairs, wanted)
        examples = extended(there, self.facts, focus, goal, job.seed)
        job.say(f"{len(examples) - len(before)} pairs more than before, for {', '.join(focus) or 'no topic'}")
        return examples, wanted

    def asked(
        self, teacher: Teacher, focus: Sequence[str] | None, there: Sequence[Example], wanted: int
    ) -> tuple[list[Pair], int]:
        """(the pairs of the model, how many of them are taught beside the examples that are there)."""
        taught = 0

        def kept(pairs: list[Pair]) -> int:
            nonlocal taught
            taught = mixed(there, pairs, wanted, self.job.seed).taught
            return taught

        teacher.known = {same_question(one["question"]) for one in there}
        return teacher.pairs(self.prompts(focus), wanted, kept), taught

    def mixed(self, teacher: Teacher, there: list[Example], pairs: list[Pair], wanted: int) -> list[Example]:
        """The examples of both; the pairs that are none are noted."""
        both = mixed(there, pairs, wanted, self.job.seed)
        teacher.account.left_out += both.left_out
        return both.examples

    def prompts(self, focus: Sequence[str] | None) -> Iterator[Prompt]:
        """What the teacher is asked: about all chunks, or those of the topics in focus; samples that no round asked."""
        self.chunks, feed = asking(self.texts, self.topic, self.job.seed, self.job.round, focus)
        return feed

    def topic(self, source: str, text: str) -> str:
        """The slug of the topic that a text of a source is about."""
        return topic_of(Fact("", (), text, ()), self.own[source], self.topics)


def asking(
    texts: Mapping[str, str],
    topic: Callable[[str, str], str],
    seed: int,
    round: int = 1,
    focus: Sequence[str] | None = None,
) -> tuple[list[Chunk], Iterator[Prompt]]:
    """(the chunks, every prompt about them in the order of asking) of a round; `topic` tells a text's slug."""
    slugs = {chunk: topic(chunk.source, chunk.text) for chunk in chunks(texts)}
    own = [chunk for chunk, slug in slugs.items() if focus is None or slug in focus]
    first_sample = SAMPLES * (round - 1)
    by_key = {chunk.key: slug for chunk, slug in slugs.items()}
    return own, prompts(own, by_key, seed, range(first_sample, first_sample + SAMPLES))


def summary(
    job: Any, account: Account, examples: Sequence[Example], wanted: int, chunks: Sequence[Chunk]
) -> dict[str, Any]:
    """generated.v1."""
    return {
        "schema": "generated.v1",
        "profile": job.models.profile("teacher"),
        "wanted": wanted,
        "pairs": sum("made" in one and one["use"] == "teach" for one in examples),
        "extractive": sum("made" not in one for one in examples),
        "prompts": account.prompts,
        "answers": dict(sorted(account.answers.items())),
        "given": account.given,
        "left_out": tally(one.reason for one in account.left_out),
        "chunks": {"all": len(chunks), "answered": len(account.chunks)},
        "stopped": account.gone or None,
    }


def told(account: Account, document: Mapping[str, Any]) -> str:
    """One line of counts for the log."""
    end = f"; stopped: {account.gone}" if account.gone else ""
    asked = f"{account.answered} of {account.prompts} questions answered"
    return f"{asked}, {account.given} pairs given, {document['pairs']} kept{end}"


def facts_of(
    rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str], topics: Sequence[Mapping[str, Any]]
) -> list[Fact]:
    """Every usable fact of the sources and every comparison of two of them, by key."""
    single = pool(rows, texts, topics)
    return sorted({fact.key: fact for fact in single + comparisons(single)}.values(), key=lambda fact: fact.key)


def first(facts: Sequence[Fact], listed: frozenset[str], wanted: int, seed: int, scale: Scale) -> list[Example]:
    """About `wanted` examples of whole families: more if the exam needs them, fewer if there are no more facts."""
    heads, _ = group([fact.node() for fact in facts])
    members: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        members[heads[fact.key]].append(fact)
    families = {family_id(fact.answer for fact in own): own for own in members.values()}
    made = {name: worded(own, name, scale.wordings(wanted), seed) for name, own in families.items()}
    made = {name: own for name, own in one_answer_each(made).items() if own}
    return [example for name in choose(made, listed, wanted, seed, scale) for example in made[name]]


def one_answer_each(families: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
    """Without the families that ask what another one asks too."""
    questions = {name: {example["question"] for example in own} for name, own in families.items()}
    asked = Counter(question for own in questions.values() for question in own)
    return {name: list(own) for name, own in families.items() if all(asked[one] == 1 for one in questions[name])}


def lacking(examples: Sequence[Example], scale: Scale) -> str:
    """What is missing for an exam that can tell anything, in a few words; "" if nothing is."""
    families = len({example["family"] for example in examples})
    if families < scale.fewest:
        return f"its sources give {families} families of facts, and an exam needs {scale.fewest}"
    kinds = Counter(example["kind"] for example in examples)
    kind = min(KINDS, key=lambda kind: kinds[kind])
    if kinds[kind] < scale.of_a_kind:
        return f"its sources give {kinds[kind]} pairs of the kind {kind}, and {scale.of_a_kind} are needed"
    return ""


def statistics(examples: Sequence[Example], listed: frozenset[str]) -> str:
    """One line of counts for the log."""
    kinds = Counter(example["kind"] for example in examples)
    families = Counter(example["family"] for example in examples)
    short = sum(example["short"] for example in examples) / max(1, len(examples))
    lists = sum(is_listed([example], listed) for example in examples) / max(1, len(examples))
    counted = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
    most = max(families.values(), default=0)
    return (
        f"{len(examples)} pairs in {len(families)} families ({counted}); at most {most} a family; "
        f"{short:.0%} short answers; {lists:.0%} from errno and signals"
    )


if __name__ == "__main__":
    raise SystemExit(main(generate))
