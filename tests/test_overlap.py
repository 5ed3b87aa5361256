"""The second scan finds what was planted in the written files, whatever the splitter did."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents._job import GiveUp
from agents.exam.near import words
from agents.exam.overlap import NEAR_LETTERS, NEAR_PERCENT, Overlap, line, near_answers, scan
from agents.exam.rules import first_exam
from agents.exam.slices import slice_of
from agents.filter import check_sealed
from tests.planted import passages, world, written

SEED = 7
EXAMPLES, SOURCES = world(300)
PASSAGES = passages(120)


def leak(folder: Path, **new: str) -> str:
    """Change the first training row as it stands in the file; returns its id."""
    path = folder / "train.jsonl"
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    for message in rows[0]["messages"]:
        message["content"] = new.get(message["role"], message["content"])
    rows[0] |= {key: new[key] for key in ("id", "family") if key in new}
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return rows[0]["id"]


@pytest.fixture
def sound(tmp_path):
    split = first_exam(EXAMPLES, SOURCES, PASSAGES, SEED)
    return split, written(split, tmp_path)


def test_the_scan_finds_leaks_that_someone_wrote_into_the_files(sound):
    split, folder = sound
    hidden = next(one for one in split.unseen if not one["short"])
    passage = split.general[0]["answer"]
    known = {e["id"]: e for e in EXAMPLES}
    spare = next(e for e in EXAMPLES if e["use"] == "exam" and slice_of(e["family"], SEED) == "taught")
    for rule, planted in {
        "answer": {"assistant": f"So: {hidden['answer'].upper()}"},
        "near-answer": {"assistant": hidden["answer"].replace(" ", "s ", 1)},
        "family": {"family": hidden["family"]},
        "id": {"id": hidden["id"]},
        "question": {"user": split.taught[0]["question"].replace("?", " ?")},
        "8-gram": {"user": f"Well, {hidden['question']} {hidden['question']}"},
        "general": {"assistant": " ".join(passage.split()[3:12])},
        "wording": {"id": spare["id"]},
        "text": {"user": "Who vouches for this?"},
    }.items():
        written(split, folder)
        leak(folder, **planted)
        assert rule in {one.rule for one in scan(folder, known.values())}, rule


def test_the_scan_finds_spans_and_templates_on_both_sides(sound):
    split, folder = sound
    hidden = next(e for e in EXAMPLES if e["family"] == split.unseen[0]["family"])
    trained = split.train[0]
    start = hidden["spans"][0]["end"] - 1
    moved = {**trained, "spans": [{**hidden["spans"][0], "start": start, "end": start + 40}]}
    found = scan(folder, [moved if e["id"] == trained["id"] else e for e in EXAMPLES])
    assert {(one.rule, one.row) for one in found} == {("span", trained["id"])}
    renamed = {**trained, "template": "qa.8"}
    found = scan(folder, [renamed if e["id"] == trained["id"] else e for e in EXAMPLES])
    assert {(one.rule, one.row) for one in found} == {("wording", trained["id"])}


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_both_ways_of_folding_agree(text):
    assert line(text).split() == list(words(text))


def test_a_leak_that_the_scan_finds_stops_the_step_in_one_line():
    with pytest.raises(GiveUp, match=r"found 1 overlaps .* by answer: row e-1, item e-2, 'tolu'") as error:
        check_sealed(None, [Overlap("answer", "e-1", "e-2", "tolu")], again=False)
    assert "\n" not in str(error.value)


@given(st.text("abcdefgh ", min_size=14, max_size=80), st.lists(st.integers(0, 79), min_size=1, max_size=9))
@settings(max_examples=300, deadline=None)
def test_nearly_equal_answers_are_those_that_comparing_whole_finds(answer, places):
    """A held-out answer, and rows that have one letter of it less, two less, and so on."""
    rows, left = [], answer
    for place in places:
        left = left[: place % len(left)] + left[place % len(left) + 1 :]
        rows.append({"id": f"row-{len(rows)}", "answer": left})
    given = {line(row["answer"]).strip(): row["id"] for row in rows}
    near = {row for text, row in given.items() if alike(text, line(answer))}
    assert {one.row for one in near_answers(rows, [{"id": "held", "answer": answer}])} == near


def alike(one: str, other: str) -> bool:
    first, second = ({text.strip()[i : i + 3] for i in range(len(text.strip()) - 2)} for text in (one, other))
    long = min(len(one.strip()), len(other.strip())) >= NEAR_LETTERS
    return long and 100 * len(first & second) >= NEAR_PERCENT * len(first | second)
