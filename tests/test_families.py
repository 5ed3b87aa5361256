"""Families of facts: what is nearly equal is one family, in whatever order it comes, and old families never change."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.exam.near import similar, words
from agents.teacher.families import Node, canonical, crowded, family_id, group, mentions, near_pairs

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
    assert mentions(nodes)["x"] == {"k0", "k1", "k2"}
    assert crowded(nodes, 2) == {"x"} and crowded(nodes, 3) == frozenset()


def test_a_family_is_named_by_its_first_folded_answer():
    assert canonical(["The size.", "ENOMEM"]) == "enomem"
    assert family_id(["B", "a"]) == family_id(["A!", "b"]) != family_id(["b"])
    assert family_id(["a"]) == "f-ca978112ca1b"
