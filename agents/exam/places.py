"""Say whether words of a reworded answer have changed places: what fits its span better the other way round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from agents.exam.stems import VALUES, Word, negates, opposites, stem, units, weighs

NEARBY = 6  # content words between two that belong together, on which an exchange of names is noticed
PLAIN = 0  # pair by which two plain words must fit better in each other's place: they wander more than names do
ALONE = 2  # pairs by which a word must fit better than one that stands in the answer without it
SIDE = 2  # content words on each side of an "instead of" that it sets against each other
TURNS = frozenset({"instead", "rather", "than", "before", "after"})


def turned(said: Sequence[Word], told: Sequence[Word]) -> str | None:
    """What stands before and after an "instead of", "rather than", "before" or "after", the other way round."""
    for before, after in sides(said):
        for first, second in sides(told):
            right = len(before & first) + len(after & second)
            if before & second and after & first and len(before & second) + len(after & first) > right:
                return f"{min(before & second)!r} and {min(after & first)!r} have changed sides"
    return None


def sides(words: Sequence[Word]) -> Iterator[tuple[set[str], set[str]]]:
    """(stems before, stems after) of each word that sets one thing against another; those of "after" change sides."""
    for place, word in enumerate(words):
        if (how := word.text.lower()) in TURNS:
            before = {
                one.stem
                for one in [one for one in words[:place] if one.content or one.number or one.text in VALUES][-SIDE:]
            }
            after = {
                one.stem
                for one in [one for one in words[place + 1 :] if one.content or one.number or one.text in VALUES][:SIDE]
            }
            yield (after, before) if how == "after" else (before, after)


def exchanged(said: Sequence[Sequence[Word]], told: Sequence[Sequence[Word]]) -> str | None:
    """Two names, numbers or rivals that would fit the span better in each other's place.

    An exchange changes only the pairs that one of the two is in, so that a list of a hundred names takes milliseconds.
    """
    there, here = neighbours(together(told)), neighbours(together(said))
    marked = {word.stem for clause in told for word in clause if word.name or word.number or word.text in VALUES}
    mine = {word.stem for clause in said for word in clause}
    pairs = {frozenset(pair) for pair in combinations(sorted(marked), 2) if set(pair) & mine}
    pairs |= {pair for pair in rivals(told) if pair <= mine}
    for one, other in sorted(sorted(pair) for pair in pairs):
        more = 0 if {one, other} <= mine & marked else PLAIN if {one, other} <= mine else ALONE
        if gain(one, other, here, there) + gain(other, one, here, there) > more:
            return f"{one!r} and {other!r} are exchanged"
    return None


def gain(one: str, other: str, here: Mapping[str, set[str]], there: Mapping[str, set[str]]) -> int:
    """By how many neighbours `one` would fit the span better in the place of `other`, which takes its own."""
    own = here.get(one, set())
    moved = {one: other, other: one}
    after = {moved.get(word, word) for word in own} if not own.isdisjoint(moved) else own
    return len(after & there.get(other, set())) - len(own & there.get(one, set()))


def neighbours(pairs: Iterable[frozenset[str]]) -> dict[str, set[str]]:
    """{stem: those that it stands together with}, itself where it stands twice."""
    found: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        for one in pair:
            found[one] |= pair - {one} or {one}
    return found


def rivals(told: Sequence[Sequence[Word]]) -> set[frozenset[str]]:
    """Pairs of stems that the span sets beside each other: before or after the same word, or opposites."""
    beside: dict[tuple[int, str], set[str]] = defaultdict(set)
    for clause in told:
        content = [word.stem for word in clause if word.content]
        for first, second in pairwise(content):
            beside[0, second].add(first)
            beside[1, first].add(second)
    there = {stem(word.text.lower()): word.stem for clause in told for word in clause}
    firsts = {next((word.stem for word in clause if word.content), "") for clause in told} - {""}
    beside[2, ""] = firsts  # what clauses begin with is what they are about
    against = {frozenset((there[one], there[o])) for one in there for o in opposites().get(one, ()) if o in there}
    alike = {frozenset(pair) for group in beside.values() for pair in combinations(sorted(group), 2)}
    return {pair for pair in alike | against if len(pair) == 2 and not pair & units()}


def together(told: Sequence[Sequence[Word]]) -> set[frozenset[str]]:
    """Pairs of stems that stand in one clause, at most NEARBY words apart; a "not" is a word of its clause."""
    found = set()
    for clause in told:
        weighed = ["not" if negates(word) else word.stem for word in clause if weighs(word)]
        for i, j in combinations(range(len(weighed)), 2):
            if j - i <= NEARBY:
                found.add(frozenset((weighed[i], weighed[j])))
    return found
