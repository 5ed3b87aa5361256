"""The exam's rules, each broken by planted examples; the same bytes again; the sealed second round."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.exam.held import family_of, question_of
from agents.exam.near import words
from agents.exam.overlap import scan
from agents.exam.quality import screen
from agents.exam.rules import GENERAL_ITEMS, ROWS_PER_ITEM, by_family, choose, find, first_exam, sealed_exam
from agents.exam.slices import Split, slice_of
from tests.planted import changed, example, passages, world, written

SEED = 7
EXAMPLES, SOURCES = world(300)
PASSAGES = passages(120)


def family(name: str, number: int = 0, long: bool = True) -> list[dict]:
    """The examples of one family of a slice, by number, with a long or a short answer."""
    ids = dict.fromkeys(e["family"] for e in EXAMPLES if slice_of(e["family"], SEED) == name and e["short"] != long)
    wanted = list(ids)[number]
    return [e for e in EXAMPLES if e["family"] == wanted]


def split_with(planted: list[dict], texts: dict[str, str] = SOURCES) -> Split:
    return first_exam([*EXAMPLES, *planted], texts, PASSAGES, SEED)


def said(one: dict, text: str) -> tuple[dict, dict[str, str]]:
    """The example with another answer, which stands in a source of its own."""
    span = {"source": "planted", "start": 0, "end": len(text)}
    return changed(one, answer=text, spans=[span], short=len(text.split()) <= 6), {**SOURCES, "planted": text}


def why(split: Split, one: dict) -> str:
    return next((drop.reason for drop in split.dropped if drop.example["id"] == one["id"]), "kept")


# -- the split ------------------------------------------------------------------------------------------------------


def test_a_sound_world_gives_every_slice_and_accounts_for_every_example(tmp_path):
    split = first_exam(EXAMPLES, SOURCES, PASSAGES, SEED)
    placed = Counter(one["id"] for one in [*split.train, *split.validation, *split.taught, *split.unseen])
    placed += Counter(drop.example["id"] for drop in split.dropped)
    assert placed == Counter(e["id"] for e in EXAMPLES)
    sizes = Counter(slice_of(f, SEED) for f in {e["family"] for e in EXAMPLES})
    assert (len(split.validation), len(split.unseen)) == (sizes["validation"], sizes["unseen"])
    assert (len(split.taught), len(split.general)) == (200, GENERAL_ITEMS)
    assert {drop.reason for drop in split.dropped} == {"held-out", "spare-wording"}
    assert scan(written(split, tmp_path), EXAMPLES) == []


def test_what_too_many_rows_overlap_is_lost_whether_all_of_them_are_found_or_only_enough():
    stock = "in the context of programming with this library here"
    phrased = [e | {"question": f"{stock}: {e['question']}"} for e in EXAMPLES]
    rows = [e for e in phrased if e["use"] == "teach" and slice_of(e["family"], SEED) == "taught"]
    families = by_family(phrased)
    held = [family_of(f"family {f}", own, SOURCES) for f, own in families.items() if slice_of(f, SEED) != "taught"]
    held += [question_of(e["id"], e["question"], shares_answer=False) for e in phrased if e["use"] == "exam"]
    every, few = find(rows, held), find(rows, held, ROWS_PER_ITEM + 1)
    assert sum(map(len, every.values())) > 100_000 > 100 * max(map(len, few.values()))
    assert all(few[key] == every[key] for key in every if len(every[key]) <= ROWS_PER_ITEM)
    assert max(map(len, few.values())) == ROWS_PER_ITEM + 1
    assert choose(families, few, SEED) == choose(families, every, SEED) == []
    assert first_exam(phrased, SOURCES, PASSAGES, SEED).unseen == []


def test_rule_2_no_family_is_on_both_sides_and_no_template_is():
    split = first_exam(EXAMPLES, SOURCES, PASSAGES, SEED)
    held = {one["family"] for one in [*split.validation, *split.unseen]}
    known = {e["id"]: e for e in EXAMPLES}
    assert not held & {e["family"] for e in split.train}
    assert {e["use"] for e in split.train} == {"teach"}
    assert {known[one["id"]]["use"] for one in [*split.taught, *split.unseen, *split.validation]} == {"exam"}
    assert {one["family"] for one in split.taught} <= {e["family"] for e in split.train}


@pytest.mark.parametrize("held", ["unseen", "validation"])
def test_a_row_that_says_a_held_out_answer_goes(held):
    hidden, open_ = family(held, long=False)[0], family("taught", long=True)
    inside, texts = said(open_[0], f"Before {hidden['answer'].lower().rstrip('.')} after, {open_[0]['answer']}")
    asks = changed(open_[1], question=f"After {hidden['answer'].rstrip('.')}, what does {open_[1]['topic']} mean?")
    split = split_with([inside, asks], texts)
    assert (why(split, inside), why(split, asks)) == ("shared-answer", "shared-answer")
    assert hidden["family"] in {one["family"] for one in [*split.unseen, *split.validation]}


def test_a_row_cut_from_the_place_of_a_held_out_family_goes():
    hidden, open_ = family("unseen")[0], family("taught")[0]
    span = {**hidden["spans"][0], "end": hidden["spans"][0]["start"] + 4}
    planted = changed(open_, spans=[*open_["spans"], span])
    assert why(split_with([planted]), planted) == "shared-span"


def test_a_nearly_equal_answer_in_another_family_goes():
    hidden, open_ = family("unseen")[0], family("taught")[0]
    near = hidden["answer"].replace(" ", "s ", 1)
    assert words(near) != words(hidden["answer"])
    planted, texts = said(open_, near)
    assert why(split_with([planted], texts), planted) == "near-answer"


def test_eight_words_of_an_unseen_question_or_answer_in_a_row_are_found():
    hidden, open_ = family("unseen"), family("taught")[0]
    texts = dict(SOURCES)
    long = "one two three four five six seven eight nine ten"
    longer = [said(one, f"{one['answer']} {long}")[0] for one in hidden]
    texts["planted"] = longer[0]["answer"]
    quoting = changed(open_, question=f"Why two three four five six seven eight nine in {open_['topic']}?")
    split = first_exam([*(e for e in EXAMPLES if e not in hidden), *longer, quoting], texts, PASSAGES, SEED)
    assert why(split, quoting) == "shared-8-gram"


def test_rule_3_an_exam_wording_in_training_goes_whatever_it_is_called():
    open_ = family("taught")
    relabelled = changed(open_[3], use="teach", template="qa.77")
    mixed = changed(open_[0], template="qa.8", question=open_[0]["question"].replace("do?", "mean?"))
    split = split_with([relabelled, mixed])
    assert (why(split, relabelled), why(split, mixed)) == ("exam-wording", "exam-wording")
    assert len(split.taught) == 200


def test_rule_4_taught_questions_share_no_eight_words_with_training():
    open_ = family("taught")
    planted = [
        changed(e, question=f"In the daily report of my whole team, {e['question']}")
        for e in open_
        if e["use"] == "exam"
    ]
    teach = changed(open_[0], question="In the daily report of my whole team, what stood about it?")
    rest = [e for e in EXAMPLES if e["family"] != open_[0]["family"] or e["use"] == "teach"]
    split = first_exam([*rest, *planted, teach], SOURCES, PASSAGES, SEED)
    asked = {one["family"] for one in split.taught}
    assert why(split, teach) == "kept"
    assert planted[0]["family"] not in asked


def test_taught_asks_only_what_training_still_says():
    small = EXAMPLES[:200]  # so few families that all the taught ones are asked
    gone = next(one["family"] for one in first_exam(small, SOURCES, PASSAGES, SEED).taught)
    rest = [e for e in small if e["family"] != gone or e["use"] == "exam"]
    split = first_exam(rest, SOURCES, PASSAGES, SEED)
    assert gone not in {one["family"] for one in split.taught}
    assert {one["family"] for one in split.taught} == {e["family"] for e in split.train}


def test_an_answer_that_stands_everywhere_costs_the_item_and_not_the_rows():
    hidden = family("unseen", long=False)
    common = [said(e, "tolu")[0] for e in hidden]
    opened = [e for e in EXAMPLES if slice_of(e["family"], SEED) == "taught" and e["use"] == "teach"]
    saying = [changed(e, question=e["question"] + " Think of tolu.") for e in opened[: ROWS_PER_ITEM + 1]]
    rest = [e for e in EXAMPLES if e not in hidden]
    split = first_exam([*rest, *common, *saying], {**SOURCES, "planted": "tolu"}, PASSAGES, SEED)
    assert {why(split, one) for one in common} == {"withdrawn"}
    assert {why(split, one) for one in saying} == {"kept"}
    split = first_exam([*rest, *common, *saying[1:]], {**SOURCES, "planted": "tolu"}, PASSAGES, SEED)
    assert {why(split, one) for one in saying[1:]} == {"shared-answer"}
    assert hidden[0]["family"] in {one["family"] for one in split.unseen}


def test_general_leaves_out_what_resembles_training():
    trained = next(e for e in family("taught") if e["use"] == "teach")
    text, texts = "ra re ri ro ru ta te ti to tu", dict(SOURCES)
    planted, texts = said(trained, text)
    like = {"id": "g-like", "text": f"Again {text}, it says."}
    split = first_exam([*EXAMPLES, planted], texts, [like, {"id": "g-short", "text": "too short"}, *PASSAGES], SEED)
    assert not {"g-like", "g-short"} & {one["id"] for one in split.general}
    assert len(split.general) == GENERAL_ITEMS


@given(st.lists(st.sampled_from(EXAMPLES), max_size=200, unique_by=lambda e: e["id"]), st.integers(0, 3), st.randoms())
@settings(max_examples=25, deadline=None)
def test_any_part_of_the_world_in_any_order_is_split_alike_and_without_overlap(tmp_path_factory, some, seed, source):
    ordered = screen(some, SOURCES)[0]
    mixed = screen(source.sample(some, len(some)), SOURCES)[0]
    split = first_exam(ordered, SOURCES, PASSAGES, seed)
    assert split == first_exam(mixed, SOURCES, PASSAGES, seed)
    assert scan(written(split, tmp_path_factory.mktemp("files")), some) == []
    assert all(
        slice_of(one["family"], seed) == one["slice"] for one in [*split.taught, *split.unseen, *split.validation]
    )


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_families_are_split_80_5_15(seed):
    found = Counter(slice_of(f"f-{number:012x}", seed) for number in range(2000))
    assert abs(found["taught"] - 1600) < 100
    assert abs(found["validation"] - 100) < 55
    assert abs(found["unseen"] - 300) < 90


# -- later rounds ---------------------------------------------------------------------------------------------------


def test_a_later_round_keeps_the_exam_and_lets_nothing_of_it_into_training(tmp_path):
    first = first_exam(EXAMPLES, SOURCES, PASSAGES, SEED)
    new, more = world(340, seed=5)
    fresh = [e for e in new if slice_of(e["family"], SEED) == "taught" and not e["short"]]
    hidden = next(one for one in first.unseen if one["short"])
    steering = next(one for one in first.validation if not one["short"])
    passage = " ".join(first.general[0]["answer"].split()[:9])
    texts = {**SOURCES, **{f"new-{name}": text for name, text in more.items()}}
    fresh = [e | {"spans": [s | {"source": f"new-{s['source']}"} for s in e["spans"]]} for e in fresh]
    teach = [e for e in fresh if e["use"] == "teach"]
    planted = {
        "shared-answer": changed(teach[0], answer=f"{teach[0]['answer']} {hidden['answer']}"),
        "near-answer": changed(teach[1], answer=steering["answer"].replace(" ", "s ", 1)),
        "shared-8-gram": changed(teach[2], answer=f"{passage} {teach[2]['answer']}"),
        "exam-question": changed(teach[3], question=first.taught[0]["question"].upper()),
    }
    every = [*EXAMPLES, *fresh, *planted.values()]
    again = sealed_exam(every, texts, first.exam, first.validation, SEED)
    assert again.exam == first.exam
    assert again.validation == first.validation
    assert {r: why(again, one) for r, one in planted.items()} == {r: r for r in planted}
    assert {e["id"] for e in first.train} < {e["id"] for e in again.train}
    assert scan(written(again, tmp_path), every) == []


def test_a_later_round_keeps_out_a_sealed_answer_even_if_its_family_is_gone(tmp_path):
    first = first_exam(EXAMPLES, SOURCES, PASSAGES, SEED)
    hidden = next(one for one in first.unseen if not one["short"])
    source = next(e for e in EXAMPLES if e["family"] == hidden["family"])
    open_ = family("taught")[0]
    renamed = example("qa.1", "pkg.new", {**source, "span": source["spans"][0], "family": open_["family"]})
    rest = [e for e in EXAMPLES if e["family"] != hidden["family"]]
    again = sealed_exam([*rest, renamed], SOURCES, first.exam, first.validation, SEED)
    assert why(again, renamed) == "shared-answer"
    assert scan(written(again, tmp_path), [*rest, renamed]) == []


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    def made(seed: int, name: str) -> list[bytes]:
        mixed = random.Random(seed).sample(EXAMPLES, len(EXAMPLES))
        split = first_exam(screen(mixed, SOURCES)[0], SOURCES, PASSAGES, seed)
        (tmp_path / name).mkdir()
        folder = written(split, tmp_path / name)
        return [(folder / f"{part}.jsonl").read_bytes() for part in ("train", "validation", "exam")]

    assert made(1, "a") == made(1, "b")
    assert all(one != other for one, other in zip(made(1, "c"), made(2, "d"), strict=True))
