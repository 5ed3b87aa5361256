"""Read every source of the goal as Markdown, each with its origin, licence, version and sha256.

    bin/agent collect runs/gpu-ops --once

Reads   goal.md
        10-research/topics.json   topics.v1: which topics each source is for
        before/20-collect/sources.jsonl    source.v1: what the last round fetched or found, which is not read again
        before/20-collect/sources/*.md     its texts
        before/20-collect/retrieved.json   retrieved.v1: when it was read
Writes  sources/*.md     one file per source; the format is in agents/sources/reader.py
        sources.jsonl    source.v1: what each one is and where it is from; no times, so that it repeats byte for byte
        retrieved.json   retrieved.v1: when each one was read
        tools.json       tools.v1: which tools a model could use, where this machine allows the step any
        tools/*.json     tool.v1: every call of one
Asks    role researcher: which documents to look up with the tools, if any; error scenarios, which become sources of
        their own, marked as generated

What came over the network may be another text tomorrow. So it is named by what it says, and later rounds and replays
keep it as it was: a span of an example is a place in one text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agents._agent import GiveUp, main
from agents._ask import Unanswered
from agents._goal import Goal
from agents._job import Job
from agents._original import FETCHED, SOURCES, TIMES
from agents.asking import lookups, scenarios
from agents.asking.material import line
from agents.asking.scenarios import Group, Scenario
from agents.sources.reader import Reader, Source, Unreadable, digest, identify, source_row

ROLE = "researcher"
NAME = 100  # characters of a model's name, which an endpoint gives
BEFORE = "before/20-collect/"
FOUND = "found"  # how the ids of looked up documents begin; goals know no such kind of source
HASH = 16  # hex digits of a text's sha256 in an id: nobody makes two texts that share them by chance


@dataclass(frozen=True)
class Earlier:
    """A source as it was read once, with its topics then; `retrieved` is when, "" where nobody noted it."""

    id: str
    source: Source
    topics: list[str]
    retrieved: str


def collect(job: Job) -> None:
    """Read the sources in the goal's order; one that was read in an earlier try is not read again."""
    topics = job.read("10-research/topics.json")["topics"]
    specs = list(job.goal.sources)
    names, before = identify(specs), earlier(job)
    pages = {one.source.origin: one for one in before if one.retrieved}
    reader = Reader(specs, job.allowed_paths)
    rows, times = [], []
    texts: dict[str, str] = {}
    for number, spec in enumerate(specs):
        job.say(f"reading {spec}", step=number + 1, total=len(specs))
        if spec in pages:
            identity, source, retrieved = pages[spec].id, pages[spec].source, pages[spec].retrieved
        else:
            kept = job.once(f"read/{names[spec]}.json", functools.partial(read, reader, spec))
            source, retrieved = Source(**kept["source"]), kept["retrieved"]
            identity = named(names[spec], source)
        job.write(f"sources/{identity}.md", source.text)
        texts[spec] = source.text
        rows.append(source_row(identity, source, topics_of(spec, topics)))
        times.append({"id": identity, "origin": spec, "retrieved": retrieved})
    rows += looked_up(job, topics, (one for one in before if not one.source.origin.startswith(FETCHED)))
    if job.models.profile(ROLE):
        rows += generated(job, topics, texts)
    job.write("sources.jsonl", rows)
    job.write("retrieved.json", {"schema": "retrieved.v1", "sources": times})


def read(reader: Reader, spec: str) -> dict[str, Any]:
    """Return one source and when it was read; a source that cannot be read is the goal's fault, the network is not."""
    try:
        source = reader.read(spec)
    except Unreadable as error:
        raise GiveUp(str(error), kind="goal") from None
    return {"source": source.as_dict(), "retrieved": datetime.now(UTC).isoformat(timespec="seconds")}


def identities(sources: Mapping[str, Source]) -> dict[str, str]:
    """{spec: the id of its source}, for all specs of a goal."""
    names = identify(list(sources))
    return {spec: named(names[spec], source) for spec, source in sources.items()}


def named(name: str, source: Source) -> str:
    """The id of a source whose spec is identified by `name`."""
    return by_text(name, source) if source.origin.startswith(FETCHED) else name


def by_text(name: str, source: Source) -> str:
    return f"{name}-{digest(source.text)[:HASH]}"


def earlier(job: Job) -> list[Earlier]:
    """What the last round fetched and found; in a replay the pages of the original besides."""
    found: list[Earlier] = []
    if any(one.startswith(BEFORE) for one in job.flow.reads):  # a run that was made before has another flow
        found += fetched(
            job.read(f"{BEFORE}{SOURCES}"), job.read(f"{BEFORE}{TIMES}"), lambda name: job.read(BEFORE + name)
        )
    if told := job.original:
        found += fetched(told.read(SOURCES, "source.v1"), told.read(TIMES, "retrieved.v1"), told.read)
    return found


def fetched(
    rows: list[dict[str, Any]] | None, times: dict[str, Any] | None, text: Callable[[str], str | None]
) -> Iterator[Earlier]:
    """Those of a reply's sources that another read would not bring again; none where there is no such reply."""
    when = {row["id"]: row["retrieved"] for row in (times or {"sources": []})["sources"]}
    for row in rows or ():
        if row["origin"].startswith(FETCHED) or row["id"].startswith(f"{FOUND}-"):
            if (said := text(row["file"])) is not None:
                source = Source(row["origin"], row["title"], row["kind"], row["licence"], row["version"], said)
                yield Earlier(row["id"], source, row["topics"], when.get(row["id"], ""))


def looked_up(job: Job, topics: list[dict[str, Any]], before: Iterable[Earlier]) -> list[dict[str, Any]]:
    """Write a source for each document that a model found with the tools of this step, and return their rows.

    What was found before stays, whether it is found again or not.
    """
    found = {one.source.text: (one.id, one.source, list(one.topics)) for one in before}  # one may teach several topics
    if job.models.profile(ROLE) and job.may_look_up:
        from agents._consult import Consulted, consult_all  # brings in the MCP client, which other runs do without

        about = {topic.slug: topic.about for topic in job.goal.topics}
        job.say(f"looking up {len(topics)} topics with tools")
        questions = [lookups.question(topic, about.get(topic["slug"], ""), topic["sources"]) for topic in topics]
        for topic, one in zip(topics, consult_all(job, ROLE, questions, schema=lookups.DONE), strict=True):
            for source in lookups.documents(one.results) if isinstance(one, Consulted) else ():
                slugs = found.setdefault(source.text, (by_text(FOUND, source), source, []))[2]
                slugs += [topic["slug"]] if topic["slug"] not in slugs else []
    rows = []
    for identity, source, slugs in found.values():
        job.write(f"sources/{identity}.md", source.text)
        rows.append(source_row(identity, source, slugs))
    return rows


def generated(job: Job, topics: list[dict[str, Any]], texts: dict[str, str]) -> list[dict[str, Any]]:
    """Write a source of error scenarios for each group that a model has any for, and return their rows."""
    rows = []
    for source, row in scenario_sources(written_by(job.models, materials(job.goal, topics, texts), job.say)):
        job.write(f"sources/{row['id']}.md", source.text)
        rows.append(row)
    return rows


def written_by(
    models: Any, own: dict[Group, str], say: Callable[..., None]
) -> dict[Group, tuple[list[Scenario], dict[str, Any]]]:
    """{group: (its scenarios, the answer that began them)}, asked until each group has enough; `own` is material."""
    kept: dict[Group, list[Scenario]] = {group: [] for group in own}
    asked, by, gone = dict.fromkeys(own, 0), dict[Group, dict[str, Any]](), False
    for _ in range(scenarios.ROUNDS):
        lack = [(group, asked[group] + n) for group in own for n in range(scenarios.lacking(kept[group]))]
        if not lack or gone:
            break
        say(f"asking {ROLE} {len(lack)} times for error scenarios", kept=sum(map(len, kept.values())))
        known = {group: [one["symptom"] for one in kept[group]] for group in own}
        batches = [scenarios.question(group, own[group], number, known[group]) for group, number in lack]
        answers = dict(models.all(ROLE, batches))
        for place, (group, number) in enumerate(lack):  # in the order of asking, not of the answers
            answer, asked[group] = answers[place], number + 1
            if isinstance(answer, Unanswered):
                gone = gone or answer.kind == "budget"
            elif not answer["error"]:
                kept[group] = scenarios.added(kept[group], answer["parsed"]["scenarios"])
                by.setdefault(group, answer)
    return {group: (found, by[group]) for group, found in kept.items() if found}


def scenario_sources(
    written: dict[Group, tuple[list[Scenario], dict[str, Any]]],
) -> Iterator[tuple[Source, dict[str, Any]]]:
    """(source, its row) of each group of scenarios."""
    for group, (found, by) in written.items():
        model = line(by["model"], NAME) or "a model without a name"
        text, title = scenarios.markdown(group, model, found), f"Error scenarios: {group.title}"
        source = Source(f"generated:{group.slug}", title, "generated", f"generated by {model}", None, text)
        about = {"profile": by["profile"], "model": model, "wanted": scenarios.WANTED, "kept": len(found)}
        identity = f"generated-{group.slug}"  # goals know no such kind of source, so that no other has this name
        yield source, source_row(identity, source, list(group.topics)) | {"generated": about}


def materials(goal: Goal, topics: list[dict[str, Any]], texts: dict[str, str]) -> dict[Group, str]:
    """The groups of scenarios that a goal's topics suggest, each with what its questions quote."""
    about = {topic.slug: topic.about for topic in goal.topics}
    return {group: material(group, topics, texts) for group in scenarios.groups(topics, about)}


def material(group: Group, topics: list[dict[str, Any]], texts: dict[str, str]) -> str:
    """What a group's questions quote: the outlines of the sources of its topics, in the goal's order."""
    fit = {spec for topic in topics if topic["slug"] in group.topics for spec in topic["sources"]}
    return scenarios.material({spec: text for spec, text in texts.items() if spec in fit})


def topics_of(spec: str, topics: list[dict[str, Any]]) -> list[str]:
    """Return the slugs of the topics that research found a source good for, in the goal's order."""
    return [topic["slug"] for topic in topics if spec in topic["sources"]]


if __name__ == "__main__":
    raise SystemExit(main(collect))
