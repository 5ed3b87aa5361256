"""What is due: pure functions, so any flow and any history can be tried."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import flow

LINE: dict[str, dict] = {
    "10-make": {"command": ["a"], "reads": ["goal.md", "before/30-use/next.json"], "writes": {"a.txt": "text"}},
    "20-count": {"command": ["b"], "reads": ["10-make/a.txt"]},
    "30-use": {"command": ["c"], "reads": ["20-count/n.txt", "10-make/*"]},
}


@st.composite
def flows(draw) -> dict:
    """A flow whose steps read earlier steps of this round and any step of the last one."""
    names = [f"{10 * n:02}-step" for n in range(1, draw(st.integers(1, 7)) + 1)]
    made = {}
    for at, name in enumerate(names):
        reads = draw(st.lists(st.sampled_from(names[:at]), max_size=3)) if at else []
        before = draw(st.lists(st.sampled_from(names), max_size=2))
        made[name] = {"reads": [f"{one}/x.json" for one in reads] + [f"before/{one}/x.json" for one in before]}
    return made


@given(flows(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_everything_is_due_once_and_only_when_its_inputs_are_there(
    document: dict, rounds: int, chance: random.Random
) -> None:
    steps = flow.steps(document)
    replied: set[tuple[str, int]] = set()
    asked: set[tuple[str, int]] = set()
    put: list[tuple[str, int]] = []
    while True:
        for step, n in flow.due(steps, replied, asked, rounds):
            assert step.needs(n) <= replied
            put.append((step.name, n))
            asked.add((step.name, n))
        assert flow.due(steps, replied, asked, rounds) == [], "looking twice adds nothing"
        if not asked:
            break
        done = chance.choice(sorted(asked))  # any order of answers
        asked.discard(done)
        replied.add(done)
    assert len(put) == len(set(put)), "nothing is due twice"
    assert replied == {(step.name, n) for step in steps for n in range(1, rounds + 1)}


@given(flows(), st.randoms(use_true_random=False))
def test_due_does_not_depend_on_the_order_of_anything(document: dict, chance: random.Random) -> None:
    steps = flow.steps(document)
    pairs = [(step.name, n) for step in steps for n in (1, 2)]
    replied = set(chance.sample(pairs, chance.randint(0, len(pairs))))
    found = {(step.name, n) for step, n in flow.due(steps, replied, set(), 2)}
    mixed = list(document.items())
    chance.shuffle(mixed)
    shuffled = flow.steps(dict(mixed))
    assert [step.name for step in shuffled] == sorted(document)
    chance.shuffle(shuffled)
    assert {(step.name, n) for step, n in flow.due(shuffled, replied, set(), 2)} == found


@given(flows(), st.randoms(use_true_random=False))
def test_a_lost_request_or_reply_is_due_again(document: dict, chance: random.Random) -> None:
    steps = flow.steps(document)
    everything = {(step.name, 1) for step in steps}
    lost = chance.choice(sorted(everything))
    assert [(step.name, n) for step, n in flow.due(steps, everything - {lost}, set(), 1)] == [lost]


def due(replied: set, asked: set | None = None, rounds: int = 2) -> list[tuple[str, int]]:
    return [(step.name, n) for step, n in flow.due(flow.steps(LINE), replied, asked or set(), rounds)]


def test_a_line_of_three() -> None:
    assert due(set()) == [("10-make", 1)]
    assert due(set(), {("10-make", 1)}) == []
    assert due({("10-make", 1)}) == [("20-count", 1)]
    assert due({("10-make", 1), ("20-count", 1)}) == [("30-use", 1)]
    first = {("10-make", 1), ("20-count", 1), ("30-use", 1)}
    assert due(first) == [("10-make", 2)] and due(first, rounds=1) == []


def test_an_inserted_step_is_waited_for() -> None:
    more: dict[str, dict] = {
        **LINE,
        "25-dedupe": {"reads": ["20-count/n.txt"]},
        "30-use": {"reads": ["25-dedupe/n.txt"]},
    }
    steps = flow.steps(more)
    replied = {("10-make", 1), ("20-count", 1)}
    assert [step.name for step, _ in flow.due(steps, replied, set(), 1)] == ["25-dedupe"]
    assert [step.name for step, _ in flow.due(steps, replied | {("25-dedupe", 1)}, set(), 1)] == ["30-use"]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"make": {}}, "a step's name is"),
        ({"10-make": {"reads": ["20-count/x"]}}, "reads 20-count/x, but there is no step 20-count"),
        ({"10-make": {"reads": ["20-b/x"]}, "20-b": {"reads": ["10-make/x"]}}, "wait for each other: 10-make, 20-b"),
        ({"10-make": {"reads": ["10-make/x"]}}, "wait for each other: 10-make"),
    ],
)
def test_bad_flows(document: dict, why: str) -> None:
    with pytest.raises(flow.BadFlow, match=why):
        flow.steps(document)


def reply(read: dict, artifacts: dict) -> dict:
    return {"read": read, "artifacts": {name: {"sha256": sha256, "bytes": 1} for name, sha256 in artifacts.items()}}


def test_stale_is_what_read_other_bytes() -> None:
    replies = {
        ("10-make", 1): reply({"goal.md": "g"}, {"a.txt": "1"}),
        ("20-count", 1): reply({"10-make/a.txt": "1"}, {"n.txt": "2"}),
        ("10-make", 2): reply({"goal.md": "g", "before/20-count/n.txt": "2"}, {"a.txt": "1"}),
    }
    own = {"goal.md": "g"}
    assert flow.stale(replies, own) == []
    assert flow.stale(replies, {"goal.md": "h"}) == [("10-make", 1), ("10-make", 2)]
    assert flow.stale({**replies, ("10-make", 1): reply({}, {"a.txt": "X"})}, own) == [("20-count", 1)]
    assert flow.stale({**replies, ("10-make", 1): reply({}, {"b.txt": "1"})}, own) == [("20-count", 1)]
    assert flow.stale({**replies, ("20-count", 1): reply({}, {"n.txt": "X"})}, own) == [("10-make", 2)]
    without = {key: value for key, value in replies.items() if key != ("10-make", 1)}
    assert flow.stale(without, own) == [], "an input that is away just now judges nothing"


def test_source() -> None:
    assert flow.source("20-collect/sources/a.md") == flow.source("before/20-collect/*") == "20-collect"
    assert flow.source("goal.md") == flow.source("20-collect") == flow.source("../20-collect/x") == ""
