"""Put a model's pairs beside the extractive ones: families, uses, and how many of which.

The extractive pairs come first into their families, exactly as without a model, so that the exam's minimum is met even
if every pair of the model were dropped. A model's pair joins the family that it touches (equal or near answers, eight
words in a row, one answer within the other's text, overlapping spans) or begins one; one that touches two families that
are there is left out, since joining them would change what stands on which side of the exam.

Of each pair the question is taught (template KIND.model-teach). One pair of a family also gives its exam wording
(KIND.model-exam). No template has both uses, and the exam's own rules compare the texts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.exam.near import grams, words
from agents.exam.quality import same_question
from agents.teacher.facts import MOST_MENTIONS
from agents.teacher.families import Node, crowded, family_id, group, spans_of
from agents.teacher.pair import LeftOut, Pair, id_of
from agents.teacher.scale import Scale
from agents.teacher.wording import MOST_WORDINGS, rank

LEAST_OF_MODEL = 0.5  # of the wanted pairs: with fewer the extractive ones would set the tone of what is learned

Example = dict[str, Any]


def shares(wanted: int, scale: Scale) -> tuple[int, int]:
    """(pairs to ask the model for, extractive pairs at least) of a first round of `wanted` pairs.

    Extractive ones at least fill the families that the exam needs, with two wordings to teach and one to examine; the
    model gives the rest, and half at least, so that a small data set becomes larger than was wanted.
    """
    least = min(wanted, scale.families * 3)
    return max(round(wanted * LEAST_OF_MODEL), wanted - least), least


@dataclass(frozen=True)
class Mixed:
    """The examples that were there, as they were, with those of the model; its pairs that are none, with the reason."""

    examples: list[Example]
    taught: int  # pairs of the model among them
    left_out: list[LeftOut]


def mixed(there: Sequence[Example], pairs: Iterable[Pair], wanted: int, seed: int) -> Mixed:
    """The examples that are there and up to `wanted` pairs of the model."""
    left_out: list[LeftOut] = []
    members = families(there, unasked(there, pairs, left_out), left_out)
    size = Counter(one["family"] for one in there if one["use"] == "teach" and "made" in one)
    examined = {one["family"] for one in there if one["use"] == "exam" and "made" in one}
    taught: list[tuple[Pair, str]] = []
    listed = [(pair, family) for family, own in members.items() for pair in own]
    for pair, family in sorted(listed, key=lambda one: rank(seed, one[0].key)):
        if len(taught) >= wanted:
            left_out.append(pair.left_out("more than wanted"))
        elif size[family] >= MOST_WORDINGS:
            left_out.append(pair.left_out("family is full"))
        else:
            size[family] += 1
            taught.append((pair, family))
    made = [pair.example | {"family": family} for pair, family in taught]
    asked = {same_question(one["question"]) for one in [*there, *made]}
    return Mixed([*there, *made, *exams(taught, examined, asked, seed)], len(taught), left_out)


def unasked(there: Sequence[Example], pairs: Iterable[Pair], left_out: list[LeftOut]) -> list[Pair]:
    """The pairs whose question nobody asked yet."""
    known = {same_question(one["question"]) for one in there}
    fresh = []
    for pair in pairs:
        if same_question(pair.example["question"]) in known:
            left_out.append(pair.left_out("asked twice"))
        else:
            fresh.append(pair)
    return fresh


def families(there: Sequence[Example], pairs: Sequence[Pair], left_out: list[LeftOut]) -> dict[str, list[Pair]]:
    """{family: the pairs that belong to it}; those that name nothing, or would join two families, are left out."""
    old = [Node(e["id"], e["answer"], e["question"], spans_of(e), e["family"]) for e in there]
    vague = crowded([*old, *(pair.node() for pair in pairs)], MOST_MENTIONS)
    left_out += [pair.left_out("answer that many others hold") for pair in pairs if pair.key in vague]
    telling = [pair for pair in pairs if pair.key not in vague]
    heads, between = group([*old, *(pair.node() for pair in telling)])
    left_out += [pair.left_out("between two families") for pair in telling if pair.key in between]
    known = {node.family for node in old}
    joined: dict[str, list[Pair]] = defaultdict(list)
    for pair in telling:
        if pair.key not in between:
            joined[heads[pair.key]].append(pair)
    found: dict[str, list[Pair]] = {}
    for head, own in joined.items():
        name = head if head in known else family_id(pair.example["answer"] for pair in own)
        if head != name and (name in known or name in found):
            left_out += [pair.left_out("between two families") for pair in own]
        else:
            found[name] = own
    return found


def exams(taught: Sequence[tuple[Pair, str]], examined: set[str], asked: set[str], seed: int) -> list[Example]:
    """One exam wording for each family that has none of a model's yet, sharing no eight words with its own teaching."""
    own: dict[str, list[Pair]] = defaultdict(list)
    for pair, family in taught:
        own[family].append(pair)
    made = []
    for family in sorted(own.keys() - examined):
        told = set().union(*(grams(words(pair.example["question"])) for pair in own[family]))
        free = [pair for pair in own[family] if same_question(pair.exam_question) not in asked]
        free.sort(
            key=lambda pair: (not told.isdisjoint(grams(words(pair.exam_question))), rank(seed, "exam", pair.key))
        )
        for pair in free[:1]:
            asked.add(same_question(pair.exam_question))
            made.append(exam_example(pair, family))
    return made


def exam_example(pair: Pair, family: str) -> Example:
    one = pair.example
    new = {"id": id_of(pair.exam_question, one["answer"]), "family": family, "question": pair.exam_question}
    return one | new | {"template": f"{one['kind']}.model-exam", "use": "exam"}
