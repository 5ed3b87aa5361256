"""Say which facts are one family: what must never stand on both sides of the exam.

Two facts are linked when
- their answers are equal or nearly equal, or they share eight words in a row (as in `agents/exam/near.py`),
- the answer of one stands, word by word, in the question or the answer of the other,
- they are cut from the same piece of a source.
A family is a connected set of linked facts, so it does not depend on the order in which the facts come.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.exam.near import NEAR, NEAR_LETTERS, Phrases, Words, grams, letters, words

Span = tuple[str, int, int]  # source, start, end (character offsets)


@dataclass(frozen=True)
class Node:
    """What is compared: one fact, or one example of an earlier round, which already has its family."""

    key: str
    answer: str
    about: str  # the question's own words: names and quoted descriptions, without the template
    spans: tuple[Span, ...] = ()
    family: str | None = None


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
    neighbours = _neighbours(ordered)
    old = {node.family for node in ordered if node.family}
    parent = {family: family for family in old} | {node.key: node.family or node.key for node in ordered}
    placed = {node.key for node in ordered if node.family}
    left_out = set()
    for node in ordered:
        if node.family:
            continue
        roots = {_find(parent, key) for key in neighbours[node.key] if key in placed}
        owners = roots & old
        if len(owners) > 1:
            left_out.add(node.key)
            continue
        placed.add(node.key)
        head = min(owners or roots | {node.key})
        for root in roots | {node.key}:
            parent[root] = head
    return {key: _find(parent, key) for key in sorted(placed)}, frozenset(left_out)


def crowded(nodes: Sequence[Node], limit: int) -> frozenset[str]:
    """Keys of the facts whose answer stands in more than `limit` other facts: such an answer identifies nothing."""
    return frozenset(key for key, others in mentions(nodes).items() if len(others) > limit)


def mentions(nodes: Sequence[Node]) -> Mapping[str, set[str]]:
    """{key: the other keys whose question or answer holds this one's answer, word by word}."""
    owners: dict[Words, list[str]] = defaultdict(list)
    for node in nodes:
        owners[words(node.answer)].append(node.key)
    phrases = Phrases(owners)
    found: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        for text in (node.about, node.answer):
            for phrase in phrases.find(words(text)):
                for key in owners[phrase]:
                    found[key].add(node.key)
    return {key: others - {key} for key, others in found.items()}


def _neighbours(nodes: Sequence[Node]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for key, others in mentions(nodes).items():
        for other in others:
            found[key].add(other)
            found[other].add(key)
    for keys in [*_alike(nodes), *_overlapping(nodes)]:
        for key in keys:  # each with each: a chain would break where one of them is left out
            found[key].update(keys)
    return found


def _alike(nodes: Sequence[Node]) -> list[list[str]]:
    """Groups of keys with nearly equal answers, or with a run of eight words in common."""
    answered: dict[Words, list[str]] = defaultdict(list)
    runs: dict[Words, list[str]] = defaultdict(list)
    for node in nodes:
        answered[words(node.answer)].append(node.key)
        for run in grams(words(node.answer)) | grams(words(node.about)):
            runs[run].append(node.key)
    groups = [[key for answer in pair for key in answered[answer]] for pair in near_pairs(answered)]
    return groups + [found[one] for found in (answered, runs) for one in sorted(found)]


def near_pairs(answers: Iterable[Words]) -> list[tuple[Words, Words]]:
    """Pairs of unequal answers that `agents.exam.near.similar` calls nearly equal.

    Trigrams are bits of an integer, and only answers whose sizes allow the similarity are compared.
    """
    bit: dict[str, int] = {}
    masks = []
    for answer in sorted(set(answers)):
        if len(" ".join(answer)) >= NEAR_LETTERS:
            mask = 0
            for trigram in sorted(letters(answer)):
                mask |= 1 << bit.setdefault(trigram, len(bit))
            masks.append((mask.bit_count(), answer, mask))
    masks.sort()
    found = []
    first = 0
    for i, (size, answer, mask) in enumerate(masks):
        while masks[first][0] / size < NEAR:
            first += 1
        for other_size, other, other_mask in masks[first:i]:
            shared = (mask & other_mask).bit_count()
            if shared / (size + other_size - shared) >= NEAR:
                found.append((other, answer))
    return found


def _overlapping(nodes: Sequence[Node]) -> list[list[str]]:
    """Pairs of keys whose spans overlap in a source."""
    found = []
    open_: list[tuple[str, int, int, str]] = []
    for piece in sorted((*span, node.key) for node in nodes for span in node.spans):
        source, start, _, key = piece
        open_ = [other for other in open_ if other[0] == source and other[2] > start]
        found += [[other[3], key] for other in open_ if other[3] != key]
        open_.append(piece)
    return found


def _find(parent: dict[str, str], key: str) -> str:
    while parent[key] != key:
        parent[key] = parent[parent[key]]
        key = parent[key]
    return key
