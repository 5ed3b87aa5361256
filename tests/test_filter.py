"""What filter leaves out and why: structure, refusals, grounding, duplicates, contradictions."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.exam.near import GRAM, NEAR, Near, Phrases, jaccard, letters, names, similar, wording, words
from agents.exam.quality import screen
from tests.counted import steps
from tests.habits import pairs
from tests.planted import changed, example, world

EXAMPLES, SOURCES = world(40)
ONE = EXAMPLES[0]


def reasons(planted: list[dict], sources: dict[str, str] = SOURCES) -> dict[str, str]:
    return {drop.example["id"]: drop.reason for drop in screen([*EXAMPLES, *planted], sources)[1]}


def test_a_sound_world_passes_whole():
    kept, dropped = screen(EXAMPLES, SOURCES)
    assert (len(kept), dropped) == (len(EXAMPLES), [])


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("structure", {"answer": "  \n"}),
        ("structure", {"topic": ""}),
        ("structure", {"spans": []}),
        ("structure", {"question": "What does `pkg0.call_0`\x07 do?"}),
        ("structure", {"question": "What does `pkg0.call_0` do with the"}),
        ("structure", {"question": "What does `pkg0.call_0` do, and ..."}),
        ("structure", {"question": "What happens here?\n```\npkg0.call_0()\n"}),
        ("structure", {"answer": "Broken \ufffd text."}),
        ("structure", {"short": True, "answer": "one two three four five six seven"}),
        ("length", {"question": "`What?`"}),
        ("refusal", {"answer": "I cannot answer that from the text."}),
        ("refusal", {"answer": "As an AI language model, I have no access to it."}),
        ("refusal", {"answer": "Sorry, this is not specified in the context."}),
        ("ungrounded", {"answer": "Frees every cached block of the allocator."}),
        ("ungrounded", {"spans": [{"source": "doc-0", "start": 0, "end": 10**6}]}),
        ("ungrounded", {"spans": [{"source": "doc-0", "start": 5, "end": 5}]}),
        ("ungrounded", {"spans": [{"source": "elsewhere", "start": 0, "end": 9}]}),
    ],
)
def test_one_fault_is_one_reason(reason, fault):
    planted = changed(ONE, **{"short": False, **fault})
    assert reasons([planted]) == {planted["id"]: reason}


def test_an_answer_put_together_from_its_spans_is_grounded_and_the_same_words_shuffled_are_not():
    first, second = EXAMPLES[0], EXAMPLES[5]
    both = f"The first is for {first['answer'].lower()} The second: {second['answer']}"
    asked = f"How do `pkg0.call_0` and `{next(iter(names(second['question'])))}` differ?"
    spans = first["spans"] + second["spans"]
    sound = changed(first, question=asked, answer=both, spans=spans, short=False)
    mixed = words(second["answer"])[::2] + words(first["answer"])[::-1] + words(second["answer"])[1::2]
    shuffled = changed(first, question=asked + " Tell me.", answer=" ".join(mixed), spans=spans, short=False)
    assert reasons([sound, shuffled]) == {shuffled["id"]: "ungrounded"}


def test_repeats_go_and_the_first_stays():
    same = changed(ONE, id="z-same", question=ONE["question"].replace(" do?", "  do ?"))
    near = changed(EXAMPLES[1], id="z-near", question=EXAMPLES[1]["question"].replace("sentence", "sentences"))
    again = changed(EXAMPLES[2], topic="other", id=EXAMPLES[2]["id"])
    found = reasons([same, near, again])
    assert found == {"z-same": "duplicate", "z-near": "near-duplicate", EXAMPLES[2]["id"]: "duplicate"}


def test_two_answers_to_one_question_both_go():
    other = changed(ONE, id="z-other", short=False, answer=EXAMPLES[5]["answer"], spans=EXAMPLES[5]["spans"])
    assert reasons([other]) == {"z-other": "contradiction", ONE["id"]: "contradiction"}


def lookalikes() -> tuple[list[dict], dict[str, str]]:
    """Questions that differ in the named object alone, many of them with the same answer."""
    texts = {"errors": ""}
    planted = []
    for number, name in enumerate(["ENOENT", "ENOEXEC", "ENODEV", "EIO", "ENXIO", "torch.tensor", "torch.Tensor"]):
        meaning = ["No such thing here.", "Exec format is wrong."][number % 2]
        start = len(texts["errors"])
        texts["errors"] += meaning + "\n"
        span = {"source": "errors", "start": start, "end": start + len(meaning)}
        fact = {"answer": meaning, "span": span, "family": f"f-{number:012x}", "topic": "errors"}
        planted += [example(template, name, fact) for template in ("qa.1", "qa.2", "qa.8")]
    return planted, texts


def test_questions_about_other_objects_are_no_duplicates():
    planted, texts = lookalikes()
    assert reasons(planted, SOURCES | texts) == {}


def test_every_planted_near_duplicate_is_found_among_many():
    planted = [
        changed(one, id=f"z-{number}", question=one["question"].replace("one sentence", "one short sentence"))
        for number, one in enumerate(EXAMPLES)
        if one["template"] == "qa.2"
    ]
    assert reasons(planted) == {one["id"]: "near-duplicate" for one in planted}


def test_a_stock_phrase_in_all_questions_is_not_compared_with_each_other_one():
    texts, every = {}, {}
    for count in (150, 600):
        made, texts[count] = pairs(count, "asked")
        every[count] = [one.example for one in made]
        assert screen(every[count], texts[count]) == (sorted(every[count], key=lambda e: e["id"]), [])
    few, many = (steps(lambda n=n: screen(every[n], texts[n])) for n in (150, 600))
    assert many <= 8 * few  # 16 where each is compared with each


def test_the_order_of_the_input_changes_nothing():
    planted, texts = lookalikes()
    bad = [
        changed(ONE, id="z-a", short=False, answer=EXAMPLES[5]["answer"], spans=EXAMPLES[5]["spans"]),
        changed(ONE, id=ONE["id"]),
    ]
    every = [*EXAMPLES, *planted, *bad]
    mixed = random.Random(3).sample(every, len(every))
    assert screen(every, SOURCES | texts) == screen(mixed, SOURCES | texts)


def test_names_and_wordings():
    assert names("What does `torch.Tensor` return for errno 12 in Python?") == {"torch.Tensor", "12", "Python"}
    assert wording("What does `a b` do?") == wording("what does torch.cuda.sync do") == "what does _ do"
    assert wording("What does `x` do?") != wording("What is `x` for?")


texts = st.text(string.ascii_letters + string.digits + " _.-é", max_size=60)


@given(texts, st.lists(texts, max_size=12))
@settings(max_examples=200, deadline=None)
def test_near_and_phrases_find_what_comparing_everything_finds(text, kept):
    own, others = words(text), [words(one) for one in kept]
    edited = [words(one + "s") for one in kept]
    assert Near([*others, *edited]).find(own) == sorted({one for one in [*others, *edited] if similar(own, one)})
    assert Phrases(others).find(own) == {one for one in others if one and f" {' '.join(one)} " in f" {' '.join(own)} "}


def test_near_is_about_letters_not_lengths():
    assert similar(words("Return the size of the cache."), words("returns the size of the cache"))
    assert not similar(words("ENOENT"), words("ENOENTS"))
    assert jaccard(letters(words("one two three")), letters(words("four five six"))) < NEAR
    assert GRAM == 8
