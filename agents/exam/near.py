"""Compare texts: the same words, nearly the same text, the same eight words in a row, the same wording.

Words are runs of letters, digits and underscores, case folded; so `torch.cuda` is two words and `empty_cache` is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from math import ceil, floor, log

Words = tuple[str, ...]

GRAM = 8  # words; the run that DESIGN 10 compares exam and training by
NEAR = 0.8  # Jaccard of letter trigrams: "Return the whole size" and "Returns the whole size" are above it
SHARED = 6  # rare trigrams that two texts share before they are compared whole: one is shared by hundreds
NEAR_LETTERS = 12  # shorter texts are compared for equality: a letter more or less makes another name

_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"`[^`]+`|\"[^\"]+\"")
_PIECE = re.compile(r"\w+(?:[.:/-]+\w+)*")
_BLANKS = re.compile(r"(?:_ )+_(?= |$)")


def words(text: str) -> Words:
    """Case-folded words of a text; () for one of symbols alone."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams(text: Words, length: int = GRAM) -> set[Words]:
    """Every run of `length` words; none for a shorter text."""
    return {text[i : i + length] for i in range(len(text) - length + 1)}


def letters(text: Words) -> frozenset[str]:
    """Letter trigrams of the words joined by blanks."""
    line = " ".join(text)
    return frozenset(line[i : i + 3] for i in range(len(line) - 2))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared over all members, 0..1; two empty sets are 1."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared) if first or second else 1.0


def similar(first: Words, second: Words) -> bool:
    """True for equal texts, and for long enough ones that are nearly equal."""
    if first == second:
        return True
    if min(len(" ".join(first)), len(" ".join(second))) < NEAR_LETTERS:
        return False
    return jaccard(letters(first), letters(second)) >= NEAR


def names(question: str) -> frozenset[str]:
    """The objects that a question names: what is quoted, and words shaped like identifiers, case kept."""
    quoted = {found.strip('`"') for found in _QUOTED.findall(question)}
    pieces = _PIECE.findall(_QUOTED.sub(" _ ", question))
    return frozenset(quoted | {piece for i, piece in enumerate(pieces) if is_name(piece, first=i == 0)})


def is_name(piece: str, *, first: bool) -> bool:
    """True for a word with a digit, an inner dot, underscore or capital, or a capital not at the question's start."""
    inner = any(c.isupper() or c.isdigit() or c in "._:" for c in piece[1:])
    return piece != "_" and (inner or piece[0].isdigit() or piece[0] == "_" or (piece[0].isupper() and not first))


def wording(question: str) -> str:
    """The question with its names blanked: what a template is when its slots are taken away."""
    pieces = _PIECE.findall(_QUOTED.sub(" _ ", question))
    blanked = ("_" if is_name(piece, first=i == 0) else piece.casefold() for i, piece in enumerate(pieces))
    return _BLANKS.sub("_", " ".join(blanked))


class Near:
    """Find, among kept texts, those that are nearly equal to one: exactly, without comparing all pairs.

    Sort all sets in one order: two of Jaccard >= t share at least t * n members, so the first SHARED of these are among
    the first floor((1 - t) * n) + SHARED of either (prefix filtering: Chaudhuri, Ganti and Kaushik, 2006; with several
    shared members: Wang, Li and Feng, 2012). With the rarest trigrams first, few other texts share so many.
    """

    def __init__(self, texts: Iterable[Words]) -> None:
        self.texts = sorted(set(texts))
        self.sets = [letters(text) if len(" ".join(text)) >= NEAR_LETTERS else frozenset() for text in self.texts]
        self.count = Counter(member for members in self.sets for member in members)
        self.holders: dict[tuple[int, str], list[int]] = defaultdict(list)  # by size, roughly
        for number, members in enumerate(self.sets):
            for member in self.first(members):
                self.holders[sizes(len(members))[1], member].append(number)
        self.equal = {text: number for number, text in enumerate(self.texts)}

    def first(self, members: frozenset[str]) -> list[str]:
        """The rarest few members, of which a nearly equal set has SHARED among its own rarest few."""
        if not members:
            return []
        ordered = sorted(members, key=lambda member: (self.count[member], member))
        return ordered[: floor((1 - NEAR) * len(members) + 1e-9) + SHARED]

    def find(self, text: Words) -> list[Words]:
        """The kept texts that `similar` accepts, in order."""
        found = {self.equal[text]} if text in self.equal else set()
        if len(" ".join(text)) >= NEAR_LETTERS:
            own = letters(text)
            fewest, most = NEAR * len(own), len(own) / NEAR  # of a set that can be near enough at all
            need = min(SHARED, ceil(fewest - 1e-9))
            holders = (self.holders.get((size, one), ()) for one in self.first(own) for size in sizes(len(own)))
            shared = Counter(chain.from_iterable(holders))
            for number in [number for number, hits in shared.items() if hits >= need]:
                other = self.sets[number]
                if fewest <= len(other) <= most and jaccard(own, other) >= NEAR:
                    found.add(number)
        return [self.texts[number] for number in sorted(found)]


def sizes(count: int) -> tuple[int, int, int]:
    """The classes of sizes that a nearly equal set may have, that of `count` itself in the middle."""
    own = floor(log(count, 1 / NEAR))
    return own - 1, own, own + 1


def clusters(texts: Iterable[Words]) -> dict[Words, Words]:
    """{text: the text that stands for all that it is nearly equal to, and for those that they are nearly equal to}."""
    near = Near(texts)
    head: dict[Words, Words] = {}
    for text in near.texts:
        if text in head:
            continue
        reached = [text]
        for one in reached:  # grows while it is walked
            if one not in head:
                head[one] = text
                reached += [other for other in near.find(one) if other not in head]
    return head


class Phrases:
    """Find which kept phrases stand in a text, word by word; each is looked for at its longest, likely rarest word."""

    def __init__(self, phrases: Iterable[Words]) -> None:
        self.anchored: dict[str, list[tuple[int, Words]]] = defaultdict(list)
        for phrase in sorted({phrase for phrase in phrases if phrase}):
            place = max(range(len(phrase)), key=lambda i: (len(phrase[i]), -i))
            self.anchored[phrase[place]].append((place, phrase))

    def find(self, text: Sequence[str]) -> set[Words]:
        """The kept phrases that stand in `text`."""
        whole = tuple(text)
        found = set()
        for i, word in enumerate(whole):
            for place, phrase in self.anchored.get(word, ()):
                if i >= place and whole[i - place : i - place + len(phrase)] == phrase:
                    found.add(phrase)
        return found


def tally(values: Iterable[str]) -> dict[str, int]:
    """How often each value comes, in alphabetical order."""
    return dict(sorted(Counter(values).items()))
