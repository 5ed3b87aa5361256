"""Say which facts are one family: what must never stand on both sides of the exam.

Two facts are linked when
- their answers are equal or nearly equal, or they share eight words in a row (as in `agents/exam/near.py`),
- the answer of one stands, word by word, in the question or the answer of the other,
- they are cut from the same piece of a source.
A family is a connected set of linked facts, so it does not depend on the order in which the facts come.

Eight words in a row that stand in more than MOST_PLACES places link nothing: they are how somebody writes, and no fact.
Where such a phrase stands in a question of the exam and in training, `filter` removes the one or the other.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.exam.near import GRAM, Near, Phrases, Words, grams, words

MOST_PLACES = 5  # of the sources that share eight words in a row: more do not speak of one thing
HABIT = 5  # words in a row that a writer has by habit: "in the context of the"
HABITUAL = 20  # places where they stand: by then they tell more of the writer than of any fact
PLACE = 600  # characters of a source: pairs about one sentence are at one place, however many there are

Span = tuple[str, int, int]  # source, start, end (character offsets)


@dataclass(frozen=True)
class Node:
    """What is compared: one fact, or one example of an earlier round, which already has its family."""

    key: str
    answer: str
    about: str  # the question's own words: names and quoted descriptions, without the template
    spans: tuple[Span, ...] = ()
    family: str | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Where it is cut from, roughly; itself where it says no span."""
        return (self.spans[0][0], self.spans[0][1] // PLACE) if self.spans else (self.key, -1)


@dataclass
class Ties:
    """What links facts, by hubs: a fact joins some, and is linked with all that joined those which it sees.

    So a thousand facts that share something cost a thousand entries, and not the million of each with each.
    """

    joins: dict[str, list[Hashable]] = field(default_factory=lambda: defaultdict(list))
    sees: dict[str, list[Hashable]] = field(default_factory=lambda: defaultdict(list))

    def link(self, hub: Hashable, keys: Iterable[str]) -> None:
        """Link each of some facts with each other."""
        for key in keys:
            self.joins[key].append(hub)
            self.sees[key].append(hub)


def spans_of(example: Mapping[str, Any]) -> tuple[Span, ...]:
    """The spans of an example.v1."""
    return tuple((span["source"], span["start"], span["end"]) for span in example["spans"])


def canonical(answers: Iterable[str]) -> str:
    """The folded answer that names a family: the first in alphabetical order."""
    return min(" ".join(words(answer)) or answer for answer in answers)


def family_id(answers: Iterable[str]) -> str:
    return "f-" + hashlib.sha256(canonical(answers).encode()).hexdigest()[:12]


def group(nodes: Iterable[Node]) -> tuple[dict[str, str], frozenset[str]]:
    """Return {key: a key, or an old family's id, that stands for its family}, and the keys that are left out.

    Left out is a new fact that would join two families of an earlier round: these never change.
    """
    ordered = sorted(nodes, key=lambda node: node.key)
    found = ties(ordered)
    old = {node.family for node in ordered if node.family}
    parent = {family: family for family in old} | {node.key: node.family or node.key for node in ordered}
    roots: dict[Hashable, set[str]] = defaultdict(set)  # of what is placed at each hub
    placed, left_out = set(), set()

    def place(key: str, head: str) -> None:
        placed.add(key)
        for hub in found.joins.get(key, ()):
            roots[hub].add(head)

    for node in ordered:
        if node.family:
            place(node.key, node.family)
    for node in ordered:
        if node.family:
            continue
        near: set[str] = set()
        for hub in found.sees.get(node.key, ()):
            roots[hub] = {_find(parent, root) for root in roots[hub]}
            near |= roots[hub]
        owners = near & old
        if len(owners) > 1:
            left_out.add(node.key)
            continue
        head = min(owners or near | {node.key})
        for root in near | {node.key}:
            parent[root] = head
        place(node.key, head)
    return {key: _find(parent, key) for key in sorted(placed)}, frozenset(left_out)


def crowded(nodes: Sequence[Node], limit: int) -> frozenset[str]:
    """Keys of the facts whose answer stands in more than `limit` other facts: such an answer identifies nothing."""
    owners, holders = mentions(nodes)
    many = (owners[answer] for answer, keys in holders.items() if len(keys | set(owners[answer])) > limit + 1)
    return frozenset(key for keys in many for key in keys)


def mentions(nodes: Sequence[Node]) -> tuple[Mapping[Words, list[str]], Mapping[Words, set[str]]]:
    """({answer: the keys whose answer it is}, {answer: the keys whose question or answer holds it, word by word})."""
    owners: dict[Words, list[str]] = defaultdict(list)
    for node in nodes:
        owners[words(node.answer)].append(node.key)
    phrases = Phrases(owners)
    holders: dict[Words, set[str]] = defaultdict(set)
    for node in nodes:
        for phrase in phrases.find(words(node.about)) | phrases.find(words(node.answer)):
            holders[phrase].add(node.key)
    return owners, holders


def ties(nodes: Sequence[Node]) -> Ties:
    """All that links the facts with each other."""
    made = Ties()
    owners, holders = mentions(nodes)
    for answer, keys in owners.items():
        made.link(("answer", answer), keys)
        for key in holders[answer] - set(keys):  # linked with its owners, and not with its other holders
            made.joins[key].append(("held", answer))
            made.sees[key].append(("answer", answer))
        for key in keys:
            made.sees[key].append(("held", answer))
    for pair in near_pairs(owners):
        made.link(("near", pair), (key for answer in pair for key in owners[answer]))
    for hub, keys in (*_running(nodes), *_overlapping(nodes)):
        made.link(hub, keys)
    return made


def near_pairs(answers: Iterable[Words]) -> Iterator[tuple[Words, Words]]:
    """Pairs of unequal answers that `agents.exam.near.similar` calls nearly equal, in order."""
    near = Near(answers)
    return ((one, other) for one in near.texts for other in near.find(one) if one < other)


def _running(nodes: Sequence[Node]) -> Iterator[tuple[Hashable, list[str]]]:
    """Each run of eight words that a few places share, no word of it a habit, with its keys."""
    texts = [(node, [words(node.answer), words(node.about)]) for node in nodes]
    habits = common(texts, HABIT, HABITUAL)
    pieces = [(node, [part for text in own for part in without(text, habits)]) for node, own in texts]
    often = Counter(run for _, own in pieces for run in set().union(*map(grams, own)))
    runs: dict[Words, list[Node]] = defaultdict(list)
    for node, own in pieces:
        for run in set().union(*map(grams, own)):
            if often[run] > 1:
                runs[run].append(node)
    for run, sharing in runs.items():
        if len({node.place for node in sharing}) <= MOST_PLACES:
            yield ("run", run), [node.key for node in sharing]


def common(texts: Iterable[tuple[Node, Sequence[Words]]], length: int, most: int) -> frozenset[Words]:
    """The runs of so many words that stand in more than `most` places."""
    at: dict[tuple[str, int], set[Words]] = defaultdict(set)
    for node, own in texts:
        at[node.place] |= set().union(*(grams(text, length) for text in own))
    count = Counter(run for runs in at.values() for run in runs)
    return frozenset(run for run, places in count.items() if places > most)


def without(text: Words, habits: frozenset[Words]) -> Iterator[Words]:
    """What is left of a text between its habits, as far as it holds a run of eight words."""
    begin = 0
    for at in range(len(text) - HABIT + 1):
        if text[at : at + HABIT] in habits:
            if at - begin >= GRAM:
                yield text[begin:at]
            begin = at + HABIT
    if len(text) - begin >= GRAM:
        yield text[begin:]


def _overlapping(nodes: Sequence[Node]) -> Iterator[tuple[Hashable, list[str]]]:
    """Each beginning of a span that lies within others, with the keys of all of them: any two overlap there."""
    open_: list[tuple[str, int, int, str]] = []
    for piece in sorted((*span, node.key) for node in nodes for span in node.spans):
        source, start, _, key = piece
        open_ = [other for other in open_ if other[0] == source and other[2] > start]
        if open_:
            yield ("at", source, start, key), [*{other[3] for other in open_}, key]
        open_.append(piece)


def _find(parent: dict[str, str], key: str) -> str:
    while parent[key] != key:
        parent[key] = parent[parent[key]]
        key = parent[key]
    return key
