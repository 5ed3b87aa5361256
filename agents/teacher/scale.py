"""Choose which families become the data set, so that every kind and topic has its share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from agents.teacher.wording import MOST_WORDINGS, rank

Example = dict[str, Any]

SPARE = 1.5  # times the needed pairs of a kind are aimed for, since the filter drops some
FEWEST_WORDINGS = 3  # two to teach and one to examine
LISTED_SHARE = 0.35  # of the pairs from errno and signals, whose entries are so many that they would crowd out the rest
TURNS = ("word", "phrase", "sentence")  # two of three exam answers are short enough to be scored exactly
KINDS = ("comparison", "code", "troubleshooting", "qa")
LISTED = ("catalogue:errno", "catalogue:signal")  # origins held to LISTED_SHARE


@dataclass(frozen=True)
class Scale:
    """How large a data set must be; a step's `settings: {scale: …}` may ask for a smaller one."""

    families: int = 600  # 15% of them, less what overlaps with training, must leave 60 unseen items (DESIGN 10, rule 5)
    fewest: int = 450  # families; with fewer not even a lucky split leaves 60 unseen items
    of_a_kind: int = 50  # pairs

    def wordings(self, wanted: int) -> int:
        """Wordings of each family, so that `wanted` pairs hold enough families; the last is left for a later round."""
        return max(FEWEST_WORDINGS, min(MOST_WORDINGS - 1, wanted // self.families))


def choose(
    families: Mapping[str, Sequence[Example]], listed: frozenset[str], wanted: int, seed: int, scale: Scale
) -> list[str]:
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
            if kinds[kind] < SPARE * scale.of_a_kind and any(example["kind"] == kind for example in families[family]):
                take(family)
    for family in order:
        if pairs < wanted or len(chosen) < scale.families:
            take(family)
    return sorted(chosen)


def in_turn(families: Mapping[str, Sequence[Example]], seed: int) -> list[str]:
    """Families by the length of the examined answer, as TURNS says, each length topic by topic, otherwise shuffled."""
    queues: dict[str, dict[str, list[str]]] = {length: defaultdict(list) for length in TURNS}
    for family in sorted(families, key=lambda family: rank(seed, "family", family)):
        exam = families[family][-1]
        queues[length_of(exam)][exam["topic"]].append(family)
    lines = {length: _by_turns(own) for length, own in queues.items()}
    found: list[str] = []
    for turn in cycle(TURNS):
        if not any(lines.values()):
            return found
        line = lines[turn] or max(lines.values(), key=len)
        found.append(line.pop(0))
    return found


def length_of(example: Example) -> str:
    """What the answer asks of the learner: one word, a phrase that can still be scored exactly, or a sentence."""
    if not example["short"] or example["kind"] == "code":
        return "sentence"
    return "phrase" if len(example["answer"].split()) > 1 else "word"


def _by_turns(queues: Mapping[str, Sequence[str]]) -> list[str]:
    longest = max(map(len, queues.values()), default=0)
    return [queues[topic][i] for i in range(longest) for topic in sorted(queues) if i < len(queues[topic])]


def is_listed(examples: Iterable[Example], listed: frozenset[str]) -> bool:
    return any(span["source"] in listed for example in examples for span in example["spans"])
