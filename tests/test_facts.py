"""What is cut from a collected document, which sentences can stand alone, and how they are asked about."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.exam.near import grams, jaccard, letters, words
from agents.teacher.blocks import read
from agents.teacher.fact import Fact
from agents.teacher.facts import cut, topic_of, unambiguous
from agents.teacher.phrases import first_sentence, plain, tells, verb_phrase
from agents.teacher.templates import EXAM, TEACH, templates
from agents.teacher.wording import questions, worded


def test_a_question_with_two_answers_is_no_question():
    one, other = (Fact("value", (("name", "x"),), answer, (("s", 0, 1),)) for answer in "12")
    assert unambiguous([one, other]) == [] and unambiguous([one, one]) == [one, one]


def test_a_family_without_an_exam_wording_is_not_used():
    fact = Fact("number", (("number", "12"), ("sort", "errno name")), "ENOMEM", (("s", 0, 6),))
    assert worded([fact], "f-000000000000", 5, 0) == []
    assert len(questions(fact, TEACH, "f-000000000000", 0)) == 3


DOCUMENT = """# demo

## demo.Box

Kind: class

Signature: `demo.Box(size: int = 4096) -> None`

Bases: `demo.Container`, `object`.

Summary: Holds a fixed number of values and returns the oldest first.

Parameters:

- `size` (int; default `4096`): How many values it holds at most. More are refused.

Warning: A full box refuses every further value without an error.

Example:

```python
>>> box = Box(size=2)
```

## Errors raised in demo

- `ValueError` in `Box.__init__`: The size of a box cannot be negative
- `KeyError` in `find.inner`: There is no value of that name

## Constants of demo

- `BOX_LIMIT` = `65536`: the most values of all boxes together
"""


def test_what_is_cut_from_a_document():
    found = {(fact.shape, fact.answer) for fact in cut("demo", DOCUMENT)}
    assert found == {
        ("summary", "Holds a fixed number of values and returns the oldest first."),
        ("named", "demo.Box"),
        ("signature", "demo.Box(size: int = 4096) -> None"),
        ("base", "demo.Container"),
        ("parameter", "How many values it holds at most."),
        ("parameter-named", "size"),
        ("default", "4096"),
        ("caution", "A full box refuses every further value without an error."),
        ("example", "box = Box(size=2)"),
        ("message-of", "The size of a box cannot be negative"),
        ("message", "Box"),
        ("message-of", "There is no value of that name"),
        ("message", "find"),
        ("constant", "the most values of all boxes together"),
        ("constant-named", "BOX_LIMIT"),
        ("value", "65536"),
    }


def test_entries_of_a_catalogue():
    text = "# Errors\n\n## errno\n\n- `EIO` (5): Input/output error\n\n## Raised\n\n- `OSError`: raised for `EIO` (5)\n"
    assert {(fact.shape, fact.answer) for fact in cut("c", text, "errno")} == {
        ("meaning", "Input/output error"),
        ("symbol", "EIO"),
        ("number", "EIO"),
        ("raised-for", "OSError"),
    }


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Return the size.", ("return the size", "returns the size")),
        ("Returns the size", ("return the size", "returns the size")),
        ("Copies a file and closes it.", ("copy a file and close it", "copies a file and closes it")),
        ("Flush and close.", ("flush and close", "flushes and close")),
        ("Wrapper around a stream.", None),
        ("The size.", None),
    ],
)
def test_verb_phrases(text, phrase):
    assert verb_phrase(text) == phrase


@pytest.mark.parametrize(
    "text",
    [
        "See the notes for it.",
        "The values are:",
        "Call f(x first",
        "As described above it waits.",
        "It is `open.",
        "of the",
    ],
)
def test_fragments_are_not_plain(text):
    assert not plain(text, 20)


def test_a_description_says_more_than_the_name():
    assert tells("How many values it holds", "size") and tells("The batch size in bytes", "batch_size")
    assert not tells("The batch size.", "batch_size")


@given(st.text("ab.?! (`\n", max_size=30))
def test_a_first_sentence_is_the_beginning(text):
    (piece,) = read(f"# x\n\nSummary: x{text}".partition("\n\n\n")[0])[0].pieces[:1]
    assert piece.text.startswith(first_sentence(piece).text)


def test_a_fact_belongs_to_the_topic_that_says_most_about_it():
    topics = [
        {"slug": "memory", "keywords": ["memory", "cuda"]},
        {"slug": "streams", "keywords": ["stream", "cuda"]},
        {"slug": "files", "keywords": ["file"]},
    ]
    fact = Fact("summary", (("name", "cuda.stream_of"),), "Return what waits.", (("s", 0, 1),))
    assert topic_of(fact, [], topics) == "streams"
    assert topic_of(fact, ["memory", "files"], topics) == "memory"
    assert topic_of(fact, ["files"], topics) == "files"


def test_teach_and_exam_wordings_are_disjoint_and_not_alike():
    sides = {use: [one for one in templates() if one.use == use] for use in (TEACH, EXAM)}
    assert len({one.id for one in templates()}) == len(templates()) == len({one.text for one in templates()})
    for exam in sides[EXAM]:
        for teach in sides[TEACH]:
            assert not grams(words(exam.text), 5) & grams(words(teach.text), 5), (exam.text, teach.text)
            assert jaccard(letters(words(exam.text)), letters(words(teach.text))) < 0.6, (exam.text, teach.text)


def test_wordings_of_a_shape_share_their_slots():
    by_shape = defaultdict(list)
    for one in templates():
        by_shape[one.shape].append(one)
    for own in by_shape.values():
        assert len({one.kind for one in own}) == 1 and sum(one.use == TEACH for one in own) >= 3
        assert all(one.text.endswith(("?", ".")) and "{" in one.text for one in own)
