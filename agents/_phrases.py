"""Tell a sentence that can stand alone from a fragment, and turn "Return the size." into "returns the size"."""

from __future__ import annotations

import re

from agents._blocks import Piece
from agents._near import words

_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!cf)(?<!vs)[.!?](?= +[A-Z`\"'(\[]|$)")
_BROKEN = re.compile(r"https?:|>>>|::|[|\\{}$<>~]|\.\.\.|XXX|TODO|\[\d|@|--|(?:^|\s)[-*#] ")
_LEANS = re.compile(r"\b(?:above|below|following|as follows|previous example|see also|aforementioned|refer to)\b|^(?:see|then|also|but|and|or)\b", re.I)
_DANGLING = re.compile(r"(?:[,:;(–-]|\b(?:a|an|the|of|to|and|or|with|for|from|by|in|at|than|as|is|are))$", re.I)
_VERBS = frozenset(
    """abort accept accumulate add allocate allow append apply ask attach average backward begin bind block break broadcast build
    call cancel capture cast change check clear clone close collect combine compare compile compute configure connect construct
    context control convert copy count create deallocate decide decode decorate decrement define delete deregister destroy
    detach determine disable discard display divide dump duplicate empty enable encode end enqueue ensure enter enumerate
    estimate evaluate exchange execute exit expand expose extract fetch fill filter find finalize finish flatten flush force
    forward free gather generate get give group handle hold identify implement import increase increment indicate infer init
    initialize insert inspect install instantiate interrupt invoke issue iterate join keep kill launch limit list load lock
    log look make manage map mark measure merge move multiply normalize notify obtain offload open override parse partition
    pass patch pause perform pin pop prefetch prepare preserve prevent print process profile provide prune push put query
    raise randomly read receive record recreate recursively reduce register release remove rename render repeat replace
    replay report represent request reserve reset resize resolve restore resume retrieve return rewind run sample save scale
    scan scatter schedule search seek select send serialize set setup shard share show shut signal skip sleep specify spawn
    split start stop store submit subtract suspend switch sync synchronize take tell terminate test toggle track transfer
    translate truncate try tune turn unbind uninstall unlink unlock unpack unregister unscale unset unwrap update upload use validate
    verify wait wake walk warn wrap write yield""".split()
) - {"backward", "forward", "context", "init", "randomly", "recursively", "setup"}
_LEADING = re.compile(r"([A-Za-z]+)\b")
_SECOND = re.compile(r"(?<=[ ,]and )([a-z]+)(?= )")


def first_sentence(piece: Piece) -> Piece:
    """The piece up to the end of its first sentence, with its full stop."""
    text = piece.text.rstrip()
    found = _END.search(text)
    return piece.part(0, found.end() if found else len(text))


def plain(text: str, most: int, fewest: int = 3) -> bool:
    """True for whole prose of `fewest` to `most` words that needs nothing around it."""
    whole = all(text.count(a) == text.count(b) for a, b in ("()", "[]")) and not text.count("`") % 2 and not text.count('"') % 2
    if not whole or not text or not (text[0].isalpha() or text[0] in "`(\""):
        return False
    bare = text.rstrip(".")
    return fewest <= len(text.split()) <= most and not (_BROKEN.search(text) or _LEANS.search(text) or _DANGLING.search(bare))


def asks(text: str, name: str, most: int) -> bool:
    """True if a description can be put into a question whose answer is `name`: short, and not saying it."""
    last = set(words(name)[-1:])
    return len(text.split()) <= most and '"' not in text and not last & set(words(text)) and len(words(text)) >= 4


def verb_phrase(text: str) -> tuple[str, str] | None:
    """("return the size", "returns the size") of "Return the size." or "Returns the size."; None if it begins with no verb."""
    text = text.rstrip(". ")
    found = _LEADING.match(text)
    if not found:
        return None
    first, rest = found[1].lower(), text[found.end() :]
    base = next((verb for verb in (first, *_bases(first)) if verb in _VERBS), None)
    if not base or (rest and rest[0] not in " "):
        return None
    return base + _each(rest, _base), third(base) + _each(rest, third)


def third(verb: str) -> str:
    """The third person of a verb: "wraps", "flushes", "copies"."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def _bases(word: str) -> tuple[str, ...]:
    return (word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y") if word.endswith("s") else ()


def _base(verb: str) -> str:
    return verb


def _each(rest: str, form: object) -> str:
    """`rest` with a verb after "and" in the same form as the first one."""

    def swap(found: re.Match[str]) -> str:
        base = next((verb for verb in (found[1], *_bases(found[1])) if verb in _VERBS), None)
        return found[1] if base is None else base if form is _base else third(base)

    return _SECOND.sub(swap, rest)
