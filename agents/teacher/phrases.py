"""Tell a sentence that can stand alone from a fragment, and turn "Return the size." into "returns the size"."""

from __future__ import annotations

import re
from collections.abc import Callable

from agents.exam.near import words
from agents.teacher.blocks import Piece

_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!cf)(?<!vs)[.!?](?= +[A-Z`\"'(\[]|$)")
_BROKEN = re.compile(r"https?:|\w:`|>>>|::|[|\\{}$<>~]|\.\.\.|XXX|TODO|%[sdr]|\[\d|@|--|(?:^|\s)[-*#] ")
_LEANS = re.compile(
    r"\b(?:above|below|following|as follows|previous example|see also|aforementioned|refer to|see \w+)\b"
    r"|\bfor more (?:info|detail|example)"
    r"|^(?:see|then|also|but|and|or)\b",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"(?:[,:;(–-]|\b(?:a|an|the|of|to|and|or|with|for|from|by|in|at|than|as|is|are))$", re.IGNORECASE
)
_VERBS = frozenset(  # what the first sentences of docstrings begin with
    """abort accept accumulate add allocate allow append apply ask attach average begin bind block break broadcast
    build call cancel capture cast change check clear clone close collect combine compare compile compute
    configure connect construct control convert copy count create deallocate decide decode decorate decrement
    define delete deregister destroy detach determine disable discard display divide dump duplicate empty enable
    encode end enqueue ensure enter enumerate estimate evaluate exchange execute exit expand expose extract
    fetch fill filter finalize find finish flatten flush force free gather generate get give group handle hold
    identify implement import increase increment indicate infer initialize insert inspect install instantiate
    interrupt invoke issue iterate join keep kill launch limit list load lock log look make manage map mark
    measure merge move multiply normalize notify obtain offload open override parse partition pass patch pause
    perform pin pop prefetch prepare preserve prevent print process profile provide prune push put query raise
    read receive record recreate reduce register release remove rename render repeat replace replay report
    represent request reserve reset resize resolve restore resume retrieve return rewind run sample save scale
    scan scatter schedule search seek select send serialize set shard share show shut signal skip sleep spawn
    specify split start stop store submit subtract suspend switch sync synchronize take tell terminate test
    toggle track transfer translate truncate try tune turn unbind uninstall unlink unlock unpack unregister
    unscale unset unwrap update upload use validate verify wait wake walk warn wrap write yield""".split()
)
_LEADING = re.compile(r"([A-Za-z]+)\b")
_SECOND = re.compile(r"(?<=[ ,]and )([a-z]+)(?= )")


def first_sentence(piece: Piece) -> Piece:
    """The piece up to the end of its first sentence, with its full stop."""
    text = piece.text.rstrip()
    found = _END.search(text)
    return piece.part(0, found.end() if found else len(text))


def plain(text: str, most: int, fewest: int = 3) -> bool:
    """True for whole prose of `fewest` to `most` words that needs nothing around it."""
    if not text or not (text[0].isalpha() or text[0] in '`("'):
        return False
    if any(text.count(a) != text.count(b) for a, b in ("()", "[]")) or text.count("`") % 2 or text.count('"') % 2:
        return False
    open_ended = _BROKEN.search(text) or _LEANS.search(text) or _DANGLING.search(text.rstrip("."))
    return fewest <= len(text.split()) <= most and not open_ended


def tells(text: str, name: str) -> bool:
    """True if a description says more than the words of the name itself."""
    return not set(words(text)) - {"a", "an", "the"} <= set(words(name.replace("_", " ")))


def asks(text: str, name: str, most: int) -> bool:
    """True if a description can be put into a question whose answer is `name`: short, and not saying it."""
    last = set(words(name)[-1:])
    return len(text.split()) <= most and '"' not in text and not last & set(words(text)) and len(words(text)) >= 4


def verb_phrase(text: str) -> tuple[str, str] | None:
    """("return the size", "returns the size") of "Returns the size."; None if no known verb begins the text."""
    text = text.rstrip(". ")
    found = _LEADING.match(text)
    if not found:
        return None
    first, rest = found[1].lower(), text[found.end() :]
    base = next((verb for verb in (first, *_bases(first)) if verb in _VERBS), None)
    if not base or (rest and rest[0] not in " "):
        return None
    return base + _each(rest, str), third(base) + _each(rest, third)


def third(verb: str) -> str:
    """The third person of a verb: "wraps", "flushes", "copies"."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def _bases(word: str) -> tuple[str, ...]:
    if not word.endswith("s"):
        return ()
    return word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"


def _each(rest: str, form: Callable[[str], str]) -> str:
    """`rest` with the verbs after "and" in the same form as the first one."""

    def swap(found: re.Match[str]) -> str:
        base = next((verb for verb in (found[1], *_bases(found[1])) if verb in _VERBS), None)
        return form(base) if base else found[1]

    return _SECOND.sub(swap, rest)
