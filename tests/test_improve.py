"""Does the next round follow from the validation slice, and from nothing else?"""

import random

import pytest

from agents import _recall, improve
from bus import schema

SLUGS = ["alpha", "beta", "delta", "gamma"]


def rows(topic, values, slice="validation", measure="exact"):
    return [
        {"schema": "score.v1", "item": f"{slice}-{topic}-{n}", "slice": slice, "topic": topic, "short": True,
         "measure": measure, "base": 0.0, "specialist": value}
        for n, value in enumerate(values)
    ]  # fmt: skip


def told(topic, score, n=20, run="earlier", round=1):
    return _recall.observation(
        "result", run, round, [topic], f"{topic}: {score}", {"topic": topic, "score": score, "n": n}
    )


def focus(scores, recalled=()):
    return [row["topic"] for row in improve.plan(1, SLUGS, scores, recalled, 1000)["focus"]]


def test_the_plan_follows_its_schema_and_adds_a_quarter():
    scores = rows("alpha", [0, 0, 0, 0]) + rows("beta", [1, 1, 1]) + rows("gamma", [1, 0])
    document = schema.check(improve.plan(3, SLUGS, scores, [], 1500), "next.v1")
    assert document["round"] == 4 and document["examples"] == 1875
    assert document["focus"][0]["topic"] == "alpha" and document["focus"][0]["n"] == 4
    assert "375 more pairs" in document["changes"][0] and "alpha" in document["changes"][0]


def test_only_validation_rows_are_looked_at():
    scores = rows("alpha", [0] * 5) + rows("beta", [1] * 5) + rows("gamma", [1] * 5) + rows("delta", [0.5] * 5)
    plan = improve.plan(1, SLUGS, scores, [], 1000)
    source = random.Random(1)
    for slice in ("taught", "unseen", "general"):
        for topic in SLUGS:
            scores += rows(topic, [source.random() for _ in range(9)], slice)
            scores += rows(topic, [9 * source.random() for _ in range(9)], slice, "loss")
    source.shuffle(scores)
    assert improve.plan(1, SLUGS, scores, [], 1000) == plan


def test_one_unlucky_answer_weighs_less_than_many():
    """Raw means would put alpha (0 of 1) before beta (1 of 12)."""
    scores = rows("alpha", [0]) + rows("beta", [1] + [0] * 11) + rows("gamma", [1] * 8) + rows("delta", [1] * 8)
    assert focus(scores)[:2] == ["beta", "alpha"]


def test_scores_that_say_nothing_are_told_apart_by_loss_then_by_name():
    """Facts that were not taught score 0 in nearly every topic; their loss still differs."""
    scores = [row for topic in SLUGS for row in rows(topic, [0.0] * 4)]
    losses = {"alpha": 5.0, "beta": 7.0, "delta": 6.0, "gamma": 6.0}
    scores += [row for topic, loss in losses.items() for row in rows(topic, [loss] * 4, measure="loss")]
    assert focus(scores) == ["beta", "delta", "gamma"]
    assert focus([row for row in scores if row["measure"] != "loss"]) == ["alpha", "beta", "delta"]


def test_a_topic_without_items_stands_at_its_prior():
    scores = rows("alpha", [1] * 9) + rows("beta", [1] * 9) + rows("gamma", [0] * 9)
    document = improve.plan(1, SLUGS, scores, [], 1000)
    delta = next(row for row in document["focus"] if row["topic"] == "delta")
    assert delta["n"] == 0 and "asked nothing" in delta["why"]
    assert delta["score"] == pytest.approx(18 / 27, abs=1e-4)


def test_what_was_recalled_moves_the_choice_and_is_named():
    scores = [row for topic in SLUGS for row in rows(topic, [0.5, 0.5])]
    assert focus(scores) == ["alpha", "beta", "delta"]
    memory = told("gamma", 0.0)
    document = improve.plan(1, SLUGS, scores, [memory, told("elsewhere", 0.0)], 1000)
    assert document["focus"][0]["topic"] == "gamma" and "r1 of earlier" in document["focus"][0]["why"]
    assert document["used"] == [memory["id"]]
    assert any("remembered" in change for change in document["changes"])
    assert improve.plan(1, SLUGS, scores, [], 1000)["used"] == []


def test_no_validation_items_at_all_is_no_error():
    document = schema.check(improve.plan(1, SLUGS, [], [], 10), "next.v1")
    assert [row["topic"] for row in document["focus"]] == ["alpha", "beta", "delta"] and document["examples"] == 13
