"""Say which examples are fit to be used: whole, an answer, grounded in their sources, and not there twice."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from agents.exam.grounding import unsupported
from agents.exam.near import Words, clusters, grams, jaccard, letters, names, similar, wording, words

Example = dict[str, Any]

REQUIRED = ("id", "family", "topic", "kind", "template", "use", "question", "answer", "spans")
MIN_QUESTION_WORDS = 2  # fewer cannot both ask and name something
SHORT_WORDS = 6  # example.v1's own limit for an exact match
GRAM = 3  # words; a run this long that an answer shares with its span is a quotation, not an accident
MIN_QUOTED = 0.5  # of an answer's words; below this the frame around the spans says more than they do
NEAR_WORDING = 0.8  # Jaccard of the wordings' trigrams: "return code" and "return codes" in one template are above it
PERMUTATIONS, BANDS = 64, 16  # misses a pair of Jaccard 0.8 once in 4,000: (1 - 0.8**4)**16; what is found is verified
TITLE_WITHIN = 1000  # characters: a source begins with its title
LONGEST_LABEL = 120  # characters before the colon of a line: "- `timeout` (float, optional): …"
FRAME = frozenset(  # words that put spans together and state nothing themselves
    re.findall(
        r"\w+",
        """a an the and or but while whereas both neither is are was be it its this that these of in on at to from for
        by with as first second former latter one other means raises returns takes gives has have does do not use call
        import print code example value name when if because whose which where than""",
    )
)
DANGLING = frozenset(
    {"a", "an", "the", "of", "to", "and", "or", "with", "for", "from", "by", "in", "than", "as", "is", "are"}
)
OPEN_ENDS = (",", ";", "-", "–", "—", "(", "[", "{", "...", "…", "/")

_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_REFUSAL = re.compile(
    r"\bas an? (?:ai|(?:large )?language model|assistant)\b"
    r"|^(?:i['’]?m|i am|we are) (?:sorry|afraid|unable|not able)\b"
    r"|^(?:sorry|unfortunately), "
    r"|^i (?:cannot|can['’]?t|can not|could not|do not|don['’]?t|won['’]?t|must decline)\b"
    r"|\bi (?:cannot|can['’]?t|am unable to) (?:help|assist|answer|provide|comply)\b"
    r"|\b(?:not (?:provided|specified|mentioned)|no information) in the (?:text|context|source|passage)\b",
    re.IGNORECASE,
)


class Drop(NamedTuple):
    """An example that is left out, and why."""

    example: Example
    reason: str
    detail: str


def screen(examples: Iterable[Example], sources: Mapping[str, str]) -> tuple[list[Example], list[Drop]]:
    """Return the usable examples by id, and the others with their reasons; the order of the input does not matter."""
    kept, dropped = [], []
    seen: dict[str, Example] = {}
    for example in sorted(examples, key=lambda e: (e["id"], sorted(map(repr, e.items())))):
        if example["id"] in seen:
            same = seen[example["id"]] == example
            fault: tuple[str, str] | None = ("duplicate", "the same row again" if same else "another row has this id")
        else:
            fault = unfit(example, sources)
        seen.setdefault(example["id"], example)
        if fault:
            dropped.append(Drop(example, *fault))
        else:
            kept.append(example)
    for step in (exact_duplicates, contradictions, near_duplicates):
        found = list(step(kept))
        gone = {drop.example["id"] for drop in found}
        kept = [example for example in kept if example["id"] not in gone]
        dropped += found
    return kept, dropped


def unfit(example: Example, sources: Mapping[str, str]) -> tuple[str, str] | None:
    """(reason, detail) of the first rule that one example breaks by itself, else None."""
    if fault := structure(example):
        return "structure", fault
    question, answer = example["question"], example["answer"]
    if len(words(question)) < MIN_QUESTION_WORDS:
        return "length", f"the question has fewer than {MIN_QUESTION_WORDS} words"
    if found := _REFUSAL.search(answer):
        return "refusal", f"the answer says {found[0]!r}"
    if fault := ungrounded(example, sources):
        return "ungrounded", fault
    return None


def structure(example: Example) -> str | None:
    """What is wrong with the example's form, in a few words; None if nothing is."""
    if missing := [key for key in REQUIRED if not (str(example[key]).strip() and example[key])]:
        return f"{missing[0]} is empty"
    for key in ("question", "answer"):
        if bad := control(example[key]):
            return f"the {key} holds U+{ord(bad):04X}"
        if example[key].count("```") % 2:
            return f"the {key} opens a code block that it does not close"
    question = example["question"].strip()
    last = words(question)[-1:]
    if question.endswith(OPEN_ENDS) or (last and last[0] in DANGLING and question[-1].isalpha()):
        return f"the question breaks off at {question[-12:]!r}"
    if example["short"] and len(example["answer"].split()) > SHORT_WORDS:
        return f"a short answer of {len(example['answer'].split())} words"
    return None


def control(text: str) -> str | None:
    """The first character that no text should hold: control, half of a pair, or the mark of a decoding error."""
    odd = (c for c in text if c not in "\n\t" and (unicodedata.category(c) in ("Cc", "Cs") or c == "\ufffd"))
    return next(odd, None)


def ungrounded(example: Example, sources: Mapping[str, str]) -> str | None:
    """Why the spans do not support the answer; None if they do. What a model made may be worded anew."""
    pieces, headings = [], []
    for span in example["spans"]:
        text = sources.get(span["source"])
        if text is None:
            return f"there is no source {span['source']}"
        if not 0 <= span["start"] < span["end"] <= len(text):
            return f"the span {span['start']}–{span['end']} is outside {span['source']}"
        pieces.append(text[span["start"] : span["end"]])
        headings.append(over(text, span["start"]) if "made" in example else "")
    if "made" in example:
        return unsupported(example["answer"], " … ".join(pieces), example["question"], " … ".join(headings))
    if fold(example["answer"]) in (fold(" ".join(pieces)), fold("".join(pieces))):
        return None
    return unquoted(words(example["answer"]), [words(piece) for piece in pieces], words(example["question"]))


def over(text: str, start: int) -> str:
    """What a place in a Markdown source stands under: its title, its heading, and the label of its own line."""
    begin = text.rfind("\n", 0, start) + 1
    label, colon, _ = text[begin : min(start, begin + LONGEST_LABEL)].partition(":")
    title, place = _HEADING.search(text, 0, min(begin, TITLE_WITHIN)), begin
    nearest = None
    while title and not nearest and (place := text.rfind("\n#", 0, place)) >= 0:
        nearest = _HEADING.match(text, place + 1, begin)
    return " … ".join([*(found[1] for found in (title, nearest) if found), *([label] if colon else [])])


def unquoted(answer: Words, pieces: list[Words], question: Words) -> str | None:
    """Name the first word of the answer that is neither quoted from a piece, nor asked for, nor part of the frame."""
    if not answer:
        return "the answer is only symbols, and not those of its spans"
    quoted = [False] * len(answer)
    for piece in pieces:
        size = min(GRAM, len(piece), len(answer))
        runs = grams(piece, size) if size else set()
        for i in range(len(answer) - size + 1):
            if answer[i : i + size] in runs:
                quoted[i : i + size] = [True] * size
    free = FRAME.union(question)
    for word, known in zip(answer, quoted, strict=True):
        if not known and word not in free:
            return f"{word!r} is not in the spans"
    if sum(quoted) < MIN_QUOTED * len(answer):
        return f"{sum(quoted)} of {len(answer)} words come from the spans"
    return None


def fold(text: str) -> str:
    """One line without blanks around it."""
    return " ".join(text.split())


def same_question(question: str) -> str:
    """Equal for questions that differ in blanks and end marks alone; `torch.Tensor` and `torch.tensor` stay two."""
    return fold(unicodedata.normalize("NFKC", question)).rstrip(" ?.!:").replace("`", "")


def exact_duplicates(examples: list[Example]) -> Iterator[Drop]:
    """Every example that repeats the question and the answer of one before it, for the same use."""
    first: dict[tuple[str, str, str], str] = {}
    for example in examples:
        key = (example["use"], same_question(example["question"]), fold(example["answer"]))
        if key in first:
            yield Drop(example, "duplicate", f"says the same as {first[key]}")
        first.setdefault(key, example["id"])


def contradictions(examples: list[Example]) -> Iterator[Drop]:
    """Every example whose question has another answer elsewhere: none of them can be trusted."""
    asked: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        asked[same_question(example["question"])].append(example)
    for group in asked.values():
        answers = [words(example["answer"]) or (example["answer"],) for example in group]
        if any(not similar(answers[0], other) for other in answers):
            for example in group:
                other = next(one for one in group if fold(one["answer"]) != fold(example["answer"]))
                yield Drop(example, "contradiction", f"{other['id']} answers the same question otherwise")


def near_duplicates(examples: list[Example]) -> Iterator[Drop]:
    """Every example that asks and answers nearly the same as one before it, about the same named objects.

    Only examples of one template are compared: two templates are two wordings, and meant to be.
    """
    gone: set[int] = set()
    alike = clusters(words(example["answer"]) for example in examples)
    for later, earlier in near_pairs([shingles(one, alike[words(one["answer"])]) for one in examples]):
        if earlier not in gone and later not in gone and nearly(examples[later], examples[earlier]):
            gone.add(later)
            yield Drop(examples[later], "near-duplicate", f"nearly the same as {examples[earlier]['id']}")


def shingles(example: Example, cluster: Words) -> list[str]:
    """Trigrams of the wording, each marked with the named objects and with the cluster of the answer: questions about
    other objects, and those with another answer, share no shingle at all, however much their wordings have in common.
    """
    about = "\t".join([example["template"], " ".join(cluster), *sorted(names(example["question"]))])
    return [f"{about}\n{part}" for part in sorted(letters(tuple(wording(example["question"]).split())))]


def near_pairs(sets: list[list[str]]) -> Iterator[tuple[int, int]]:
    """(later, earlier) indices of sets that MinHash takes for similar, in order; some are not, and must be verified."""
    import rensa

    hashes = rensa.RMinHash.from_token_sets(sets, PERMUTATIONS, 0)
    index = rensa.RMinHashLSH(NEAR_WORDING, PERMUTATIONS, BANDS)
    index.insert_many(hashes)
    for later, found in zip(count(), index.query_all(hashes), strict=False):
        if sets[later]:
            yield from ((later, earlier) for earlier in sorted(found) if earlier < later)


def nearly(one: Example, other: Example) -> bool:
    """True for the same template and named objects, wordings of Jaccard >= 0.8 and nearly equal answers."""
    if one["template"] != other["template"] or names(one["question"]) != names(other["question"]):
        return False
    asked, before = (letters(tuple(wording(e["question"]).split())) for e in (one, other))
    return jaccard(asked, before) >= NEAR_WORDING and similar(words(one["answer"]), words(other["answer"]))
