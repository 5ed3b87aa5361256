"""Say whether a reworded answer is what its span says: by its numbers, names, negations, opposites and words.

An answer that a model worded cannot be compared letter by letter. These rules are about words, and none of them knows
what a sentence means; `tests/test_grounding.py` measures how many planted faults they find and how many good answers
they lose. What they let through, a judge may still find.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

from agents.exam.stems import VALUES, Word, denies, negates, opposites, read, stem, stems, units

SUPPORTED = 0.6  # of an answer's content words stand in the span
OF_A_CLAUSE = 0.5  # of one clause's, where two words or more do not: a half-true answer goes on after what is true
NEARBY = 6  # content words between two that belong together, on which an exchange of names is noticed
PLAIN = 0  # pair by which two plain words must fit better in each other's place: they wander more than names do
ALONE = 2  # pairs by which a word must fit better than one that stands in the answer without it
SIDE = 2  # content words on each side of an "instead of" that it sets against each other
TURNS = frozenset({"instead", "rather", "than", "before", "after"})
CONDITIONS = frozenset({"unless", "without"})  # "not A unless B" may be worded "without B, A"

_CLAUSE = re.compile(
    r"(?<=[.;:!?])\s+|\s[–—-]\s|,\s+"
    r"|,?\s+(?:and|but|while|whereas|although|because|so|so that|then|which|or|except|except that)\s+",
    re.IGNORECASE,
)
_ANSWERS = re.compile(r"^\s*(?:yes|no)\b[,.:;!]?\s+", re.IGNORECASE)  # says nothing of its sentence


def unsupported(answer: str, span: str, question: str) -> str | None:
    """Why the span does not support the answer, in a few words; None if it seems to. The question may be repeated."""
    told, asked = read(span), read(question)
    said = read(answer)
    if not said:
        return "the answer has no words"
    return (
        strange(said, told, asked)
        or uncovered(answer, said, told, asked)
        or inserted(said, told)
        or denied(answer, span, question)
        or opposed(said, told, asked)
        or turned(said, told)
        or exchanged(clauses(answer), clauses(span))
    )


def clauses(text: str) -> list[list[Word]]:
    """The clauses of a text, roughly; what is too short to be one belongs to the next."""
    found: list[list[Word]] = []
    open_: list[Word] = []
    for part in _CLAUSE.split(_ANSWERS.sub("", text)):
        open_ = open_ + read(part)
        if sum(map(weighs, open_)) >= 2:
            found.append(open_)
            open_ = []
    if open_ and found:
        found[-1] = found[-1] + open_
    return found or [open_]


def strange(said: Sequence[Word], told: Sequence[Word], asked: Sequence[Word]) -> str | None:
    """A number or a name of the answer that neither the span nor the question holds."""
    known = [*told, *asked]
    numbers = {word.stem for word in known if word.number} | {
        digits for word in known for digits in re.findall(r"\d+", word.text)
    }
    parts = {part for word in known for part in pieces(word.text)}
    forms = {form(word) for word in known}
    for word in said:
        if word.number and word.stem not in numbers:
            return f"{word.text!r} is a number that the span does not hold"
        if form(word) in units() and form(word) not in forms:
            return f"{word.text!r} is a unit that the span does not hold"
        if word.name and not pieces(word.text) <= parts and stem(word.text.lower()) not in {stem(one) for one in parts}:
            return f"{word.text!r} is a name that the span does not hold"
    return None


def pieces(name: str) -> set[str]:
    """What a dotted name is made of, in lower case."""
    return {part for part in re.split(r"[.:\-()=]+", name.lower()) if part}


def uncovered(answer: str, said: Sequence[Word], told: Sequence[Word], asked: Sequence[Word]) -> str | None:
    """The first clause, or the answer as a whole, of which too few words stand in the span or the question."""
    known = stems(told) | stems(asked)
    for clause in clauses(answer):
        content = [word for word in clause if word.content]
        missing = [word.text for word in content if word.stem not in known]
        if len(missing) >= 2 and len(content) - len(missing) < OF_A_CLAUSE * len(content):
            return f"{', '.join(missing[:3])}: is not in the span"
    content = [word for word in said if word.content]
    missing = [word.text for word in content if word.stem not in known]
    if len(content) - len(missing) < SUPPORTED * len(content):
        return f"{len(content) - len(missing)} of {len(content)} words come from the span"
    return None


def inserted(said: Sequence[Word], told: Sequence[Word]) -> str | None:
    """Three words in a row in one text that have a "not" after the first in the other."""
    for first, second in ((said, told), (told, said)):
        there = [word.text.lower() for word in second]
        plain = set(zip(there, there[1:], [*there[2:], ""], strict=False))
        here = [*(word.text.lower() for word in first), ""]
        for place, word in enumerate(first[1:-1], 1):
            three = here[place - 1], here[place + 1], here[place + 2]
            if negates(word) and three in plain:
                return f"{' '.join(three)!r}: has a {word.text!r} in one of the two"
    return None


def denied(answer: str, span: str, question: str) -> str | None:
    """A denial in the answer that the span does not make, or one of the span that the answer drops."""
    own, there = clauses(answer), clauses(span)
    conditional = any(starts_condition(clause) for clause in there)
    asked = any(negates(word) for word in read(question))
    for word, clause in denials(own):
        told = [one for one in there if word in stems(one)]
        near = told or [list(nearest(clause, there))]
        if not conditional and not any(weakens(one, word) for one in near) and (told or not asked):
            return f"the answer denies {word!r}, the span does not"
    for word, clause in denials(there):
        said = [one for one in own if word in stems(one)]
        affirmed = any(word in stems(one) and not weakens(one, word) for one in there)
        shared = content_stems(clause) & set().union(*map(content_stems, own))
        if said and not affirmed and not any(weakens(one, word) for one in said):
            if len(shared) >= max(2, len(content_stems(clause)) / 2):
                return f"the span denies {word!r}, which the answer affirms"
    return None


def denials(told: Sequence[Sequence[Word]]) -> Iterator[tuple[str, Sequence[Word]]]:
    """(the first content stem after the "not", the clause) of every clause that denies something."""
    for clause in told:
        places = [place for place, word in enumerate(clause) if negates(word)]
        if places and (after := [word.stem for word in clause[places[-1] + 1 :] if word.content]):
            yield after[0], clause


def weakens(clause: Sequence[Word], but: str) -> bool:
    """True if a clause denies something, by a "not" or by another word than `but`."""
    return any(negates(word) or (denies(word.text.lower()) and word.stem != but) for word in clause)


def starts_condition(clause: Sequence[Word]) -> bool:
    """True for "unless …" and "otherwise, …": what is denied without it is affirmed with it."""
    return any(word.text.lower() in CONDITIONS for word in clause) or clause[0].text.lower() == "otherwise"


def nearest(clause: Sequence[Word], others: Sequence[Sequence[Word]]) -> Sequence[Word]:
    """The clause that shares most words with another; the first of equals."""
    own = content_stems(clause)
    return max(others, key=lambda other: len(own & content_stems(other)), default=())


def content_stems(clause: Sequence[Word]) -> set[str]:
    return {word.stem for word in clause if word.content}


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


def opposed(said: Sequence[Word], told: Sequence[Word], asked: Sequence[Word]) -> str | None:
    """A word of the answer, new in it, whose opposite stands in the span and not in the answer."""
    own, there = ({form(word) for word in words} for words in (said, told))
    known = {form(word) for word in [*told, *asked]} | stems([*told, *asked])
    for word in said:
        against = opposites().get(form(word), frozenset()) & there - own
        if against and form(word) not in known and word.stem not in known:
            return f"the answer says {word.text!r}, the span {min(against)!r}"
    return None


def form(word: Word) -> str:
    """The stem of a word itself, without its synonyms."""
    return stem(word.text.lower())


def exchanged(said: Sequence[Sequence[Word]], told: Sequence[Sequence[Word]]) -> str | None:
    """Two names, numbers or rivals that would fit the span better in each other's place."""
    near = together(told)
    marked = {word.stem for clause in told for word in clause if word.name or word.number or word.text in VALUES}
    mine = {word.stem for clause in said for word in clause}
    pairs = {frozenset(pair) for pair in combinations(sorted(marked), 2) if set(pair) & mine}
    pairs |= {pair for pair in rivals(told) if pair <= mine}
    score = fits(said, near, {})
    for one, other in sorted(sorted(pair) for pair in pairs):
        more = 0 if {one, other} <= mine & marked else PLAIN if {one, other} <= mine else ALONE
        if fits(said, near, {one: other, other: one}) > score + more:
            return f"{one!r} and {other!r} are exchanged"
    return None


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


def weighs(word: Word) -> bool:
    return word.content or word.number or negates(word) or word.text in VALUES


def fits(said: Sequence[Sequence[Word]], near: set[frozenset[str]], exchange: Mapping[str, str]) -> int:
    """How many pairs that stand together in the answer, some words exchanged, do so in the span."""
    changed = [[replace(word, stem=exchange.get(word.stem, word.stem)) for word in clause] for clause in said]
    return len(together(changed) & near)
