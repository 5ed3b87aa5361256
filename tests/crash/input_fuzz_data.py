"""Bytes that a reader may meet: arbitrary ones, JSON of any kind, and good documents that were changed or torn."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from bus import files

_numbers = st.integers() | st.integers(-(10**400), 10**400) | st.floats()  # json writes NaN and Infinity, too
_texts = st.text(max_size=20) | st.text(st.characters(codec=None), max_size=5)  # half characters, too
_words = st.sampled_from(["r1", "id", "error", "death", "../../x", "/etc/passwd", "10-first", "before/", "goal.md", ""])
_json = st.recursive(
    st.none() | st.booleans() | _numbers | _texts | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts | _words, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """A good document with one to three places replaced, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        here = document
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            key = draw(st.sampled_from(keys)) if keys else None
            deeper = key is not None and isinstance(here[key], dict | list) and here[key]
            if not deeper or draw(st.booleans()):
                break
            here = here[key]
        if key is None or draw(st.integers(0, 3)) == 0:
            _add(here, draw(_texts | _words), draw(_json))
        elif draw(st.booleans()):
            here[key] = draw(_json)
        else:
            del here[key]
    return document


def _add(here: Any, key: str, value: Any) -> None:
    if isinstance(here, dict):
        here[key] = value
    else:
        here.append(value)


@st.composite
def torn(draw: st.DrawFn, document: Any) -> bytes:
    """The bytes of a good document, with some cut out, doubled or replaced."""
    data = draw(st.sampled_from([files.canonical, files.pretty]))(document)
    start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    return data[:start] + draw(st.binary(max_size=6)) + data[draw(st.sampled_from([start, end])) :]


def spelt(document: Any) -> bytes:
    """As a sloppy writer would: NaN, half characters and all."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


def deep(n: int) -> bytes:
    """Objects in each other: readers and writers of JSON have their limits, at 254 and 1,024."""
    return b'{"a":' * n + b"1" + b"}" * n


def bytes_like(document: Any) -> st.SearchStrategy[bytes]:
    """Anything, JSON of any kind, a good document that was changed, its bytes torn, and now and then the good one."""
    return (
        st.binary(max_size=60)
        | st.integers(1, 1200).map(deep)
        | _json.map(spelt)
        | changed(document).map(spelt)
        | torn(document)
        | st.just(spelt(document))
    )


def names() -> st.SearchStrategy[bytes]:
    """Any bytes, and the names that the bus itself gives, almost."""
    forms = r"(r[0-9]{1,3}|try-[0-9]{1,8}|retried-after-[0-9]{1,8}|bad-[0-9a-f]{1,3}|kept|\.draft-1)(\.json)?[~. ]?"
    return st.binary(max_size=255) | st.from_regex(forms, fullmatch=True).map(str.encode)
