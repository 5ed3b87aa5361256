"""Say whether a reworded answer is what its span says: by its numbers, names, negations, opposites and words.

An answer that a model worded cannot be compared letter by letter. These rules are about words, and none of them knows
what a sentence means; `tests/test_grounding.py` measures how many planted faults they find and how many good answers
they lose. What they let through, a judge may still find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agents.exam.places import exchanged, turned
from agents.exam.stems import Word, denies, negates, opposites, read, stem, stems, units, weighs

SUPPORTED = 0.6  # of an answer's content words stand in the span, or in the question, which may be repeated
OWN = 0.5  # of them in the span alone: a question that tells its answer would prove anything
OWN_OF_A_CLAUSE = 0.25  # of one clause's: half an answer may be proven, and the other half told by the question
LEAST_SPAN = 3  # words that weigh: one or two stand everywhere, and prove nothing
OF_A_CLAUSE = 0.5  # of one clause's, where two words or more do not: a half-true answer goes on after what is true
CONDITIONS = frozenset({"unless", "without"})  # "not A unless B" may be worded "without B, A"

_CLAUSE = re.compile(
    r"(?<=[.;:!?])\s+|\s[–—-]\s|,\s+"
    r"|,?\s+(?:and|but|while|whereas|although|because|so|so that|then|which|or|except|except that)\s+",
    re.IGNORECASE,
)
_ANSWERS = re.compile(r"^\s*(?:yes|no)\b[,.:;!]?\s+", re.IGNORECASE)  # says nothing of its sentence


def unsupported(answer: str, span: str, question: str, about: str = "") -> str | None:
    """Why the span does not support the answer, in a few words; None if it seems to.

    `about` is what the span stands under, a heading for one: the answer may use its names. The question's plain words
    may be repeated, its names and numbers not: they are true only if the span or what it stands under has them.
    """
    told, asked, under = read(span), read(question), read(about)
    said = read(answer)
    if not said:
        return "the answer has no words"
    if quoted(answer, span):
        return None if any(word.name for word in said) else slight(told)
    return (
        slight(told)
        or strange(said, told, under)
        or uncovered(answer, told, asked, under)
        or inserted(said, told)
        or denied(answer, span, question)
        or opposed(said, told, asked)
        or turned(said, told)
        or exchanged(clauses(answer), clauses(span))
    )


def quoted(answer: str, span: str) -> bool:
    """True for an answer that is its span but for blanks."""
    return answer.split() == span.split()


def slight(told: Sequence[Word]) -> str | None:
    """Say that a span is too short to prove anything but a name that is quoted."""
    weight = sum(map(weighs, told))
    return f"the span has {weight} words of its own, {LEAST_SPAN} are needed" if weight < LEAST_SPAN else None


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


def strange(said: Sequence[Word], told: Sequence[Word], under: Sequence[Word]) -> str | None:
    """A number or a name of the answer that the span does not hold, nor, for a name, what it stands under."""
    numbers = {word.stem for word in told if word.number} | {
        digits for word in told for digits in re.findall(r"\d+", word.text)
    }
    parts = {part for word in [*told, *under] for part in pieces(word.text)}
    forms = {form(word) for word in told}
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


def uncovered(answer: str, told: Sequence[Word], asked: Sequence[Word], under: Sequence[Word] = ()) -> str | None:
    """The first clause, or the answer as a whole, of which too few words stand in the span, or in span and question."""
    own, known = stems([*told, *under]), stems([*told, *asked, *under])
    for clause in clauses(answer):
        content = [word for word in clause if word.content]
        missing = [word.text for word in content if word.stem not in known]
        if len(missing) >= 2 and len(content) - len(missing) < OF_A_CLAUSE * len(content):
            return f"{', '.join(missing[:3])}: is not in the span"
        asked_only = [word.text for word in content if word.stem not in own]
        if len(asked_only) >= 2 and len(content) - len(asked_only) < OWN_OF_A_CLAUSE * len(content):
            return f"{', '.join(asked_only[:3])}: is in the question alone"
    return few(read(answer), stems(told), known)


def few(said: Sequence[Word], own: set[str], known: set[str]) -> str | None:
    """Say that too little of an answer stands in the span alone, or in span and question."""
    content = [word for word in said if word.content]
    there = sum(word.stem in known for word in content)
    if there < SUPPORTED * len(content):
        return f"{there} of {len(content)} words come from the span or the question"
    proven = [word for word in said if weighs(word) and word.stem in own]
    if not proven or sum(word.content for word in proven) < OWN * len(content):
        return f"{len(proven)} of {len(content)} words come from the span itself"
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
