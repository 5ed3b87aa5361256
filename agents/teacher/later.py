"""Add to the examples of an earlier round: more wordings of its weakest topics, then new families about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from agents.teacher.fact import Fact
from agents.teacher.families import Node, family_id, group, spans_of
from agents.teacher.wording import MOST_WORDINGS, more, worded

Example = dict[str, Any]


def extended(
    before: Sequence[Example], facts: Sequence[Fact], focus: Sequence[str], wanted: int, seed: int
) -> list[Example]:
    """The examples of the last round as they were, and new ones about the topics in focus, `wanted` in all.

    Old families keep their ids and members: a fact that would join two of them is left out. More wordings of old
    families come first, then new families, one of each topic in turn.
    """
    old = [Node(e["id"], e["answer"], e["question"], spans_of(e), e["family"]) for e in before]
    heads, left_out = group(old + [fact.node() for fact in facts])
    members: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.key not in left_out:
            members[heads[fact.key]].append(fact)
    size = Counter(example["family"] for example in before)
    asked = {example["question"] for example in before}
    grown = list(before)
    for head in heads_in_turn(members, focus, frozenset(size)):
        name = head if head in size else family_id(fact.answer for fact in members[head])
        if head != name and name in size:
            continue  # what is left of an old family without the facts that held it together
        about = [fact for fact in members[head] if fact.topic in focus]
        new = list(more(about, name, seed)) if head == name else worded(members[head], name, MOST_WORDINGS - 1, seed)
        added = [example for example in new if example["question"] not in asked][: max(0, MOST_WORDINGS - size[name])]
        if len(grown) >= wanted or (head != name and len(added) < len(new)):
            continue
        asked.update(example["question"] for example in added)
        size[name] += len(added)
        grown += added
    return grown


def heads_in_turn(members: Mapping[str, Sequence[Fact]], focus: Sequence[str], known: frozenset[str]) -> list[str]:
    """The families about the topics in focus: known ones first, then one of each topic in turn."""
    queues: dict[str, list[str]] = {topic: [] for topic in focus}
    for head in sorted(members):
        for topic in sorted({fact.topic for fact in members[head]} & set(focus), key=focus.index)[:1]:
            queues[topic].append(head)
    place = {head: (head not in known, i) for queue in queues.values() for i, head in enumerate(queue)}
    return sorted(place, key=lambda head: (*place[head], head))
