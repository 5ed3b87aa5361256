"""Read a text as words that can be compared: stems, near synonyms, names, numbers, negations and opposites."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))
FRAME, NEGATORS = (frozenset(_WORDS[key].split()) for key in ("frame", "negators"))
DENYING = NEGATORS | frozenset(_WORDS["denying"].split())
_NEGATIVE_PREFIX = re.compile(
    r"^(?:un(?!der|til|ion|it|iq|iv|ix)|dis(?!k|tr|pla|tin|tan|cov|cus)|non|in(?=valid|acces|correct|consist|suffi|compl"
    r"|visi|activ|depend)|im(?=poss|mut|prop)|ir(?=reg|rel|rev)|il(?=leg))-?(?=\w{4})"
)
_IRREGULAR = dict(one.split("=") for one in _WORDS["irregular"].split())
_NUMBERS = {word: str(n) for n, word in enumerate("zero one two three four five six seven eight nine ten".split())} | {
    "twelve": "12", "twenty": "20", "hundred": "100", "thousand": "1000", "half": "0.5"
}  # fmt: skip
VALUES = frozenset({"True", "False", "None"})  # compared by their meaning, see `opposites`
_NOT_COUNTED = frozenset({"one"})  # a pronoun more often than a number
_SUFFIXES = ("ations", "ation", "ization", "izing", "izes", "ings", "ing", "edly", "ied", "ies", "ed", "ers", "ors",
             "ments", "ment", "ions", "ion", "es", "ly", "ness", "able", "ible", "al", "er", "or", "s")  # fmt: skip
_TOKEN = re.compile(
    r"(?P<number>(?<![\w.])-?(?:0x[0-9a-f]+|\d+(?:[.,]\d+)*))(?=(?:[a-z%]{0,3})?(?![\w]))"
    r"|(?P<word>-{0,2}[^\W\d](?:[\w]|(?:[.:](?=\w)|-(?=\w)|['’](?=\w)))*)|(?P<digits>\d\w*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Word:
    """One word: as it stands, its stem (synonyms share one), and whether it is a name, a number, or has content."""

    text: str
    stem: str
    name: bool = False
    number: bool = False
    content: bool = False


def read(text: str) -> list[Word]:
    """The words of a text in their order; a name with dots or dashes is one."""
    plain = unicodedata.normalize("NFKC", text).replace("’", "'")
    for short, whole in (("won't", "will not"), ("can't", "can not"), ("cannot", "can not"), ("n't", " not")):
        plain = plain.replace(short, whole)
    found: list[Word] = []
    for match in _TOKEN.finditer(plain):
        token = match[0]
        lower = token.lower()
        if match["number"] or match["digits"]:
            found.append(Word(token, number(token), number=True, content=True))
        elif lower in _NUMBERS and lower not in _NOT_COUNTED:
            pronoun = bool(found) and found[-1].text.lower() == "the"  # the two
            found.append(Word(token, _NUMBERS[lower], number=not pronoun))
        elif is_name(token, starts=begins_sentence(plain, match.start())):
            last = re.split(r"[.:]", lower.strip("-.:"))[-1]  # of a dotted name, which is often shortened to it
            found.append(Word(token, last if odd(token) else kin(stem(last)), name=True, content=True))
        else:
            found += [plain_word(part) for part in re.split(r"[-.:']", token) if part]
    return found


def plain_word(text: str) -> Word:
    lower = text.lower()
    return Word(text, kin(stem(lower)), content=lower not in FRAME and len(lower) > 1)


def begins_sentence(text: str, place: int) -> bool:
    before = text[:place].rstrip("\"'“‘(` ")
    return not before or before[-1] in ".:;!?\n"


def is_name(token: str, *, starts: bool) -> bool:
    """True for an identifier, a flag, an abbreviation, or a capital within a sentence."""
    return odd(token) or (token[:1].isupper() and not starts and len(token) > 1 and token not in VALUES)


def odd(token: str) -> bool:
    """True for what no plain word looks like: dots, underscores, dashes before it, digits or capitals within."""
    inner = token.strip("-")
    return "_" in inner or "." in inner or token.startswith("--") or any(c.isdigit() or c.isupper() for c in inner[1:])


def number(token: str) -> str:
    """One spelling for each number: 1,024 and 1024, 2.0 and 2."""
    plain = token.lower().replace(",", "") if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", token) else token.lower()
    return plain.rstrip(".").removesuffix(".0")


@cache
def stem(word: str) -> str:
    """A word without its ending, roughly: the same for the forms of a verb or noun, mostly."""
    word = _IRREGULAR.get(word, word)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not (suffix == "s" and word.endswith("ss")):
            word = word.removesuffix(suffix)
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    word = word.rstrip("e") if len(word) > 3 else word
    return word[:-1] + "i" if word.endswith("y") else word


@cache
def units() -> frozenset[str]:
    """The stems of units of measure."""
    return frozenset(map(stem, _WORDS["units"].split()))


@cache
def _kin() -> dict[str, str]:
    found: dict[str, str] = {}
    for group in _WORDS["kin"].splitlines():
        stems = [stem(word) for word in group.split()] or [""]
        head = next((found[one] for one in stems if one in found), stems[0])
        for one in stems:
            found.setdefault(one, head)
    return found


def kin(stemmed: str) -> str:
    """The stem that stands for a word and its near synonyms."""
    return _kin().get(stemmed, stemmed)


@cache
def opposites() -> dict[str, frozenset[str]]:
    """{stem: the stems that say the opposite}; synonyms are not followed here."""
    found: dict[str, set[str]] = {}
    for pair in _WORDS["opposed"].split():
        one, other = (stem(word) for word in pair.split("/"))
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return {key: frozenset(value) for key, value in found.items()}


def negates(word: Word) -> bool:
    """True for a plain negation; None is a value, a "no" that answers a question says nothing of its sentence."""
    return word.text != "None" and word.text.lower() in NEGATORS


def weighs(word: Word) -> bool:
    """True for a word that says something: by its content, as a number, as a value or as a negation."""
    return word.content or word.number or negates(word) or word.text in VALUES


def denies(word: str) -> bool:
    """True for a word that can carry the denial of another text in other words."""
    return word in DENYING or bool(_NEGATIVE_PREFIX.match(word)) or word.endswith("less")


def stems(words: Iterable[Word]) -> set[str]:
    return {word.stem for word in words}
