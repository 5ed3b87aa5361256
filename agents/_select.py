"""Choose which families become the data set, so that every kind and topic has its share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents._wording import MOST_WORDINGS, rank

Example = dict[str, Any]

WANTED_FAMILIES = 600  # 15% of them, less what overlaps with training, must leave 60 unseen items (DESIGN 10, rule 5)
MIN_FAMILIES = 450  # below, not even a lucky split leaves 60 unseen items
MIN_KIND = 50  # pairs of each kind
ENOUGH_OF_A_KIND = 75  # aimed for, since the filter drops some
FEWEST_WORDINGS = 3  # two to teach and one to examine
LISTED_SHARE = 0.35  # of the pairs from errno and signals, whose entries are so many that they would crowd out the rest
LONG_EVERY = 3  # every third family is examined by a sentence, the others by a short answer that can be scored exactly
KINDS = ("comparison", "code", "troubleshooting", "qa")
LISTED = ("catalogue:errno", "catalogue:signal")  # origins held to LISTED_SHARE


def wordings_each(wanted: int) -> int:
    """Wordings a family, so that `wanted` pairs hold WANTED_FAMILIES families."""
    return max(FEWEST_WORDINGS, min(MOST_WORDINGS - 1, wanted // WANTED_FAMILIES))  # one is left for a later round


def choose(families: Mapping[str, Sequence[Example]], listed: frozenset[str], wanted: int, seed: int) -> list[str]:
    """The families, whole, that make about `wanted` pairs; `listed` are the sources held to LISTED_SHARE."""
    order = in_turn(families, seed)
    chosen: dict[str, None] = {}
    kinds: Counter[str] = Counter()
    pairs = from_lists = 0

    def take(family: str) -> None:
        nonlocal pairs, from_lists
        own = families[family]
        in_list = is_listed(own, listed)
        if family in chosen or (in_list and from_lists + len(own) > LISTED_SHARE * wanted):
            return
        chosen[family] = None
        kinds.update(example["kind"] for example in own)
        pairs += len(own)
        from_lists += in_list * len(own)

    for kind in KINDS:
        for family in order:
            if kinds[kind] < ENOUGH_OF_A_KIND and any(example["kind"] == kind for example in families[family]):
                take(family)
    for family in order:
        if pairs < wanted or len(chosen) < WANTED_FAMILIES:
            take(family)
    return sorted(chosen)


def in_turn(families: Mapping[str, Sequence[Example]], seed: int) -> list[str]:
    """Families with short answers before those with sentences or code two to one, each topic by topic in turn, shuffled."""
    short: dict[str, list[str]] = defaultdict(list)
    long: dict[str, list[str]] = defaultdict(list)
    for family in sorted(families, key=lambda family: rank(seed, "family", family)):
        exam = families[family][-1]
        easy = exam["short"] and exam["kind"] != "code"
        (short if easy else long)[exam["topic"]].append(family)
    first, second = _by_turns(short)[::-1], _by_turns(long)[::-1]
    found: list[str] = []
    while first or second:
        turn = len(found) % LONG_EVERY == LONG_EVERY - 1
        found.append((second if (turn and second) or not first else first).pop())
    return found


def _by_turns(queues: Mapping[str, Sequence[str]]) -> list[str]:
    longest = max(map(len, queues.values()), default=0)
    return [queues[topic][i] for i in range(longest) for topic in sorted(queues) if i < len(queues[topic])]


def is_listed(examples: Iterable[Example], listed: frozenset[str]) -> bool:
    return any(span["source"] in listed for example in examples for span in example["spans"])
