"""Families of facts: what is nearly equal is one family, in whatever order it comes, and old families never change."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.exam.near import Phrases, grams, similar, words
from agents.teacher.families import (
    MOST_PLACES,
    Node,
    canonical,
    crowded,
    family_id,
    group,
    mentions,
    near_pairs,
    ties,
)
from tests.counted import steps
from tests.habits import pairs, text

WORDS = ["cuda", "memory", "device", "returns", "current", "bytes", "stream", "waits", "rank", "process"]
ANSWERS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=10).map(" ".join)


def node(key: str, answer: str, about: str = "", spans: tuple = (), family: str | None = None) -> Node:
    return Node(key, answer, about or f"about {key}", spans, family)


def parted(nodes: list[Node]) -> set[frozenset[str]]:
    heads, _ = group(nodes)
    return {frozenset(key for key in heads if heads[key] == head) for head in heads.values()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (node("a", "Returns the size."), node("b", "returns the size")),
        (node("a", "Return the current GPU memory in bytes"), node("b", "Returns the current GPU memory, in bytes")),
        (
            node("a", "one two three four five six seven eight nine"),
            node("b", "so one two three four five six seven eight"),
        ),
        (node("a", "ENOMEM"), node("b", "Cannot allocate memory", about="ENOMEM")),
        (node("a", "ENOMEM"), node("b", "ENOMEM: Cannot allocate memory. EIO: broken")),
        (node("a", "int", spans=(("s", 10, 20),)), node("b", "something else", spans=(("s", 15, 30),))),
    ],
)
def test_linked_facts_are_one_family(one, other):
    assert parted([one, other]) == {frozenset("ab")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (node("a", "ENOENT"), node("b", "ENOENTRY")),
        (node("a", "Returns the size"), node("b", "Returns the stream of the device")),
        (node("a", "int", spans=(("s", 10, 20),)), node("b", "other", spans=(("s", 20, 30),))),
        (node("a", "int", spans=(("s", 10, 20),)), node("b", "other", spans=(("t", 10, 20),))),
    ],
)
def test_other_facts_stay_apart(one, other):
    assert parted([one, other]) == {frozenset("a"), frozenset("b")}


def test_links_reach_across_a_third_fact():
    assert parted([node("a", "ENOMEM"), node("b", "out", about="ENOMEM EIO"), node("c", "EIO")]) == {frozenset("abc")}


@settings(deadline=None, max_examples=60)
@given(st.lists(ANSWERS, min_size=2, max_size=14), st.randoms(use_true_random=False))
def test_families_do_not_depend_on_the_order(answers, dice: random.Random):
    nodes = [node(f"k{i}", answer) for i, answer in enumerate(answers)]
    expected = parted(nodes)
    dice.shuffle(nodes)
    assert parted(nodes) == expected


@settings(deadline=None, max_examples=60)
@given(st.sets(ANSWERS, max_size=12))
def test_near_pairs_are_exactly_the_similar_ones(answers):
    folded = sorted({words(answer) for answer in answers})
    expected = {frozenset((a, b)) for a in folded for b in folded if a < b and similar(a, b)}
    assert {frozenset(pair) for pair in near_pairs(folded)} == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(ANSWERS, min_size=1, max_size=8), st.lists(ANSWERS, min_size=1, max_size=8))
def test_a_new_fact_never_joins_two_old_families(before, new):
    old = [node(f"o{i}", answer, family=f"f-{i}") for i, answer in enumerate(before)]
    heads, left_out = group([*old, *(node(f"n{i}", answer) for i, answer in enumerate(new))])
    assert all(heads[one.key] == one.family for one in old)
    assert left_out | heads.keys() == {one.key for one in old} | {f"n{i}" for i in range(len(new))}


def test_the_fact_that_would_join_them_is_left_out():
    old = [node("o1", "ENOMEM", family="f-1"), node("o2", "EIO", family="f-2")]
    heads, left_out = group(
        [*old, node("n1", "both", about="ENOMEM or EIO"), node("n2", "more", about="the text of EIO")]
    )
    assert left_out == {"n1"}
    assert heads == {"o1": "f-1", "o2": "f-2", "n2": "f-2"}


def test_an_answer_that_stands_everywhere_is_crowded():
    nodes = [node("x", "timeout"), *(node(f"k{i}", f"word{i}", about=f"the timeout of call{i}") for i in range(3))]
    owners, holders = mentions(nodes)
    assert owners[("timeout",)] == ["x"] and holders[("timeout",)] == {"x", "k0", "k1", "k2"}
    assert crowded(nodes, 2) == {"x"} and crowded(nodes, 3) == frozenset()


@st.composite
def some_nodes(draw) -> list[Node]:
    """At most MOST_PLACES facts, so that no run of words is a habit, some of them of old families."""
    spans = st.lists(st.tuples(st.just("s"), st.integers(0, 40), st.integers(1, 9)), max_size=2)
    made = []
    for i, answer in enumerate(draw(st.lists(ANSWERS, min_size=2, max_size=MOST_PLACES))):
        cut = tuple((source, start, start + size) for source, start, size in draw(spans))
        made.append(node(f"k{i}", answer, draw(ANSWERS), cut, draw(st.sampled_from([None, None, "f-1", "f-2"]))))
    return made


def linked(one: Node, other: Node) -> bool:
    """The rule of `agents/teacher/families.py`, for two facts."""
    mine, its = words(one.answer), words(other.answer)
    said, told = ([words(n.answer), words(n.about)] for n in (one, other))
    within = any(Phrases([a]).find(text) for a, texts in ((mine, told), (its, said)) for text in texts)
    runs = set().union(*map(grams, said)) & set().union(*map(grams, told))
    overlap = any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in one.spans for b in other.spans)
    return similar(mine, its) or within or bool(runs) or overlap


@settings(deadline=None, max_examples=200)
@given(some_nodes())
def test_families_are_those_of_comparing_each_with_each(nodes):
    heads, left_out = group(nodes)
    placed = {one.key: one.family or one.key for one in nodes if one.family}
    for one in sorted(nodes, key=lambda n: n.key):
        if not one.family:
            near = {placed[o.key] for o in nodes if o.key in placed and linked(one, o)}
            owners = {head for head in near if head.startswith("f-")}
            assert (one.key in left_out) == (len(owners) > 1)
            if len(owners) <= 1:
                head = min(owners or near | {one.key})
                placed = {key: head if old in near else old for key, old in placed.items()} | {one.key: head}
    assert heads == placed


@pytest.mark.parametrize("stock", ["taught", "asked", "answered"])
def test_a_stock_phrase_makes_no_family_however_often_it_stands(stock):
    nodes = [pair.node() for pair in pairs(200, stock)[0]]
    assert len(parted(nodes)) == 200


def test_a_stock_phrase_and_what_some_facts_are_about_make_no_family_either():
    chance, stock = random.Random(1), "in the context of programming with this library what is"
    nodes = [node(f"k{i}", text(chance, 8), f"{stock} thing{i % 50} {text(chance, 3)}") for i in range(200)]
    assert len(parted(nodes)) == 200


def test_a_run_of_words_links_what_a_few_places_share_and_not_what_many_do():
    def apart(places):
        run, chance = "returns current bytes stream waits rank process device", random.Random(1)
        told = [(f"k{i}", text(chance, 6), f"{run} {text(chance, 2)}", i % places) for i in range(2 * places)]
        return len(
            parted([node(key, said, about, (("s", 1000 * at, 1001 * at + 1),)) for key, said, about, at in told])
        )

    assert apart(5) == 1
    assert apart(12) > 1


@pytest.mark.parametrize("stock", ["none", "asked", "answered"])
def test_four_times_as_many_pairs_cost_at_most_eight_times_as_much(stock):
    few, many = ([pair.node() for pair in pairs(count, stock)[0]] for count in (150, 600))
    assert steps(lambda: group(many)) <= 8 * steps(lambda: group(few))
    assert sum(map(len, ties(many).joins.values())) <= 8 * sum(map(len, ties(few).joins.values()))


def test_a_family_is_named_by_its_first_folded_answer():
    assert canonical(["The size.", "ENOMEM"]) == "enomem"
    assert family_id(["B", "a"]) == family_id(["A!", "b"]) != family_id(["b"])
    assert family_id(["a"]) == "f-ca978112ca1b"
