"""Cut every fact out of the collected sources, and leave out those that cannot be asked without doubt."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents.exam.near import words
from agents.teacher.blocks import read
from agents.teacher.entry_facts import section_facts
from agents.teacher.fact import Cutter, Fact, checked
from agents.teacher.families import crowded
from agents.teacher.object_facts import object_facts

MOST_MENTIONS = 5  # an answer that stands in more other facts than this names none of them
VALUES = 15  # constants' bare numbers asked for per source: true, short, and worth little

Row = Mapping[str, Any]  # source.v1 or a topic of topics.v1

_DIGITS = re.compile(r"\d+")


def cut(source: str, text: str, catalogue: str = "") -> list[Fact]:
    """Every fact of one source, in file order; `catalogue` is errno, signal or nvml for these."""
    cutter = Cutter(source, catalogue)
    found: list[Fact] = []
    title = ""
    for block in read(text):
        title = title or block.name.text
        found += object_facts(cutter, block) if block.kind else section_facts(cutter, block, title)
    return found


def pool(rows: Iterable[Row], texts: Mapping[str, str], topics: Sequence[Row]) -> list[Fact]:
    """The usable facts of all sources by key, each with its topic. `rows` are source.v1, `texts` {id: Markdown}."""
    found: dict[str, Fact] = {}
    for row in sorted(rows, key=lambda row: row["id"]):
        kind, _, name = row["origin"].partition(":")
        for fact in cut(row["id"], texts[row["id"]], name if kind == "catalogue" else ""):
            if checked(fact, texts):
                found.setdefault(fact.key, replace(fact, topic=topic_of(fact, row["topics"], topics)))
    facts = fewer_values(only_first_of_series(unambiguous(found.values())))
    vague = crowded([fact.node() for fact in facts], MOST_MENTIONS)
    return sorted((fact for fact in facts if fact.key not in vague), key=lambda fact: fact.key)


def unambiguous(facts: Iterable[Fact]) -> list[Fact]:
    """Without the facts whose question has several answers."""
    answers: dict[object, set[str]] = defaultdict(set)
    listed = list(facts)
    for fact in listed:
        answers[fact.asked].add(fact.answer)
    return [fact for fact in listed if len(answers[fact.asked]) == 1]


def only_first_of_series(facts: Sequence[Fact]) -> list[Fact]:
    """One of the constants that differ in a number alone (link 0 to link 71): the others teach only the number."""
    series: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.shape in ("constant", "constant-named", "value"):
            name = fact.answer if fact.shape == "constant-named" else fact.slot("name")
            series[fact.shape, _DIGITS.sub("#", name)].append(fact)
    dropped = set()
    for members in series.values():
        keep = min(members, key=lambda fact: (len(fact.about), fact.about, fact.key))
        dropped |= {fact.key for fact in members if fact.asked != keep.asked}
    return [fact for fact in facts if fact.key not in dropped]


def fewer_values(facts: Sequence[Fact]) -> list[Fact]:
    """At most VALUES bare numbers per source, chosen by their hash."""
    values: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.shape == "value":
            values[fact.spans[0][0]].append(fact.key)
    kept = {key for keys in values.values() for key in sorted(keys)[:VALUES]}
    return [fact for fact in facts if fact.shape != "value" or fact.key in kept]


def topic_of(fact: Fact, own: Sequence[str], topics: Sequence[Row]) -> str:
    """The slug of the topic whose keywords say most about the fact; `own` are the topics of its source.

    A keyword counts the less, the more topics share it; the first of equals wins. A source without topics may have any.
    """
    text = f"{fact.about} {fact.answer}"
    said = {*words(text), *words(text.replace("_", " "))}
    shared = Counter(keyword for topic in topics for keyword in set(topic["keywords"]))
    allowed = [topic for topic in topics if topic["slug"] in own] or list(topics)
    hits = [sum(1 / shared[one] for one in topic["keywords"] if said.issuperset(words(one))) for topic in allowed]
    return str(allowed[hits.index(max(hits))]["slug"]) if allowed else ""
