"""Evaluate with a judge: both orders, a flip is a tie, and the money's end leaves out what it must, and says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents import evaluate
from agents.asking import preference
from bus import files, schema
from tests.asking import FREE, profile
from tests.golden import GOAL, golden
from tests.scripted.fixture import Scripted
from tests.stepping import Stepping

N = 24  # long items; two thirds of them taught
WORDS = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa".split()
FIRST = {"text": '{"reason": "It stands first.", "better": "first"}'}


def item(name: str, slice: str, answer: str, short: bool = False) -> dict[str, Any]:
    known = slice != "general"
    return golden("item.v1") | {
        "id": name,
        "slice": slice,
        "family": f"f-{files.sha256(name.encode())[:12]}" if known else None,
        "topic": "cuda" if known else None,
        "kind": "qa" if known else None,
        "question": f"what about {name}?" if known else "",
        "answer": answer,
        "short": short,
    }


def exam() -> list[dict[str, Any]]:
    """Long items with words of their own, a short one and a passage."""
    long = []
    for n in range(N):
        own = " ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 9))
        long.append(item(f"long-{n}", "taught" if n % 3 else "unseen", f"it does {own} for number {n}"))
    passage = item("general-1", "general", "a passage of text that nobody has seen")
    return [*long, item("short-1", "taught", "yes", short=True), passage]


def evaluated(
    tmp_path: Path, default: dict[str, Any], *roles: str, price: Any = None, **budget: Any
) -> tuple[Stepping, Scripted]:
    """Evaluate, going on from a try that had both models' answers already: the specialist is right on `long-` items."""
    items = exam()
    validation = [item("validation-1", "validation", "no", short=True)]
    every = validation + items
    with Scripted(tmp_path / "server", default=default) as server:
        there = Stepping(tmp_path, GOAL, {"one": profile(server.url, price=price or FREE)}, *roles, **budget)
        there.reply("00-orient", {"hardware.json": golden("hardware.v1"), "recalled.json": golden("recalled.v1")})
        for step in ("10-research", "20-collect", "30-generate"):
            there.reply(step, {})
        rows = {"exam.jsonl": items, "validation.jsonl": validation}
        seals = {f"{name[:-6]}_sha256": files.sha256(b"".join(map(files.canonical, own))) for name, own in rows.items()}
        there.reply("40-filter", rows | {"dataset.json": golden("dataset.v1", **seals)})
        training = golden("training.v1")
        there.reply("50-train", {"training.json": training, "adapter/a": "x", "base/b": "x"})
        asked = files.canonical(evaluate.questions(every))
        key = files.sha256(asked + files.sha256(files.canonical(training)).encode())[:12]
        kept = there.folder / "60-evaluate" / "work" / "r1" / "kept"
        kept.mkdir(parents=True)
        for model in evaluate.MODELS:
            said = [{"id": one["id"], "text": text_of(one, model), "loss": 1.0} for one in every]
            (kept / f"answers-{model}-{key}.jsonl").write_bytes(b"".join(map(files.canonical, said)))
        with there.agent():
            if "teacher" in roles:
                there.ask("Teach.", "teacher")
            there.step("evaluate")
    return there, server


def text_of(one: dict[str, Any], model: str) -> str:
    """The specialist is right, the base of no use; to `long-0` both say the same but for form."""
    if one["id"] == "long-0":
        return "The same." if model == "base" else "the same"
    return one["answer"] if model == "specialist" else "the the the"


def verdict(there: Stepping) -> dict[str, Any]:
    for row in there.out("60-evaluate", "scores.jsonl"):
        schema.check(row, "score.v1")
    return schema.check(there.out("60-evaluate", "verdict.json"), "verdict.v1")


def test_a_fair_judge_finds_the_better_answers_in_both_orders(tmp_path: Path) -> None:
    there, server = evaluated(tmp_path, {"call": "fair judge"}, "judge")
    found = verdict(there)
    taught, unseen = (found["slices"][name]["judged"] for name in ("taught", "unseen"))
    assert (taught["n"], taught["wins"], taught["verdict"]) == (16, 16, "better")
    assert (unseen["n"], unseen["wins"], unseen["ties"], unseen["flips"]) == (8, 7, 1, 0)  # long-0 is alike
    assert unseen["difference"] == 0.875 and 0 < unseen["low"] <= unseen["high"]
    assert found["judge"] == {"profiles": ["one"], "models": ["scripted"], "teachers_own": False, "useless": 0}
    assert "judged" not in found["slices"]["validation"] and "judged" not in found["slices"]["general"]
    told = [row["body"]["messages"][1]["content"] for row in server.asked()]
    assert len(told) == 2 * (N - 1) == len(set(told))
    assert all('<source id="reference">' in one and "specialist" not in one for one in told)
    scored = {
        row["item"]: row.get("judged") for row in there.out("60-evaluate", "scores.jsonl") if row["measure"] != "loss"
    }
    assert scored["short-1"] is None and scored["long-1"] == {"verdict": "win", "flipped": False}


def test_a_judge_that_prefers_a_place_decides_nothing(tmp_path: Path) -> None:
    there, _ = evaluated(tmp_path, FIRST, "judge")
    taught = verdict(there)["slices"]["taught"]["judged"]
    assert (taught["ties"], taught["flips"], taught["wins"], taught["losses"]) == (16, 16, 0, 0)
    assert taught["verdict"] == "cannot tell"


def test_a_judge_that_is_the_teachers_own_model_is_told_on(tmp_path: Path) -> None:
    there, _ = evaluated(tmp_path, {"call": "fair judge"}, "judge", "teacher")
    assert verdict(there)["judge"]["teachers_own"] is True


def test_without_a_judge_nothing_is_asked_or_said(tmp_path: Path) -> None:
    there, server = evaluated(tmp_path, FIRST)
    assert server.asked() == [] and "judge" not in verdict(there)
    assert "judged" not in json.dumps([verdict(there), there.out("60-evaluate", "scores.jsonl")])


def test_verdicts_of_no_use_are_left_out_and_counted(tmp_path: Path) -> None:
    there, _ = evaluated(tmp_path, {"text": "I cannot assist with that."}, "judge")
    found = verdict(there)
    taught = found["slices"]["taught"]["judged"]
    assert (taught["n"], taught["left_out"], taught["verdict"]) == (0, 16, "cannot tell")
    assert found["judge"]["useless"] == 2 * (N - 1) and found["judge"]["models"] == []


def test_once_the_money_is_gone_what_was_judged_counts_and_the_rest_is_left_out(tmp_path: Path) -> None:
    price = {"input": 1.0, "output": 1.0}
    there, server = evaluated(tmp_path, {"call": "fair judge"}, "judge", price=price, usd=0.016)
    slices = verdict(there)["slices"]
    judged = [slices[name]["judged"] for name in ("taught", "unseen")]
    assert 1 < sum(one["n"] for one in judged) < N and sum(one["n"] + one["left_out"] for one in judged) == N
    assert all(one["n"] for one in judged)  # neither slice alone was left out
    assert len(server.asked()) < 2 * (N - 1)


@pytest.mark.parametrize(
    ("base_first", "specialist_first", "verdict", "flipped"),
    [
        ("second", "first", "win", False),
        ("first", "second", "loss", False),
        ("neither", "neither", "tie", False),
        ("first", "first", "tie", True),
        ("second", "second", "tie", True),
        ("second", "neither", "tie", True),
    ],
)
def test_a_verdict_that_changes_with_the_order_is_a_tie(
    base_first: str, specialist_first: str, verdict: str, flipped: bool
) -> None:
    assert preference.outcome(base_first, specialist_first) == {"verdict": verdict, "flipped": flipped}


def test_a_handful_of_wins_tells_nothing() -> None:
    win, loss = ({"verdict": one, "flipped": False} for one in ("win", "loss"))
    five = preference.counted([(win, f"f-{n}") for n in range(5)], 5, 0)
    assert five["difference"] == 1.0 and five["verdict"] == "cannot tell"
    same = preference.counted([(win, "f-1")] * 40, 40, 0)
    assert same["verdict"] == "cannot tell"  # forty wordings of one fact are one piece of evidence
    worse = preference.counted([(loss, f"f-{n}") for n in range(20)], 20, 0)
    assert worse["verdict"] == "worse"
