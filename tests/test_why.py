"""bin/why: from any item of a data set back to its source, its wording or call, and its verdict."""

import json
import shutil
from collections import Counter

import pytest

from agents.exam.card import REASONS
from bus import files
from tests import small
from tests.test_distil import collected, taught

__all__ = ["collected", "taught"]


def why(there, item, *more):
    return small.command("why", there.folder, item, *more)


def explained(there, item) -> dict:
    ended = why(there, item, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def examples(taught):
    there, _ = taught
    return {one["id"]: one for one in there.examples()}


def test_a_row_that_a_model_made_leads_to_its_call_and_its_source(taught, examples, collected):
    there, _ = taught
    one = next(row for row in there.rows("train.jsonl") if "made" in examples[row["id"]])
    example, found = examples[one["id"]], explained(there, one["id"])
    assert found["verdicts"] == ["round 1: kept as a training row (40-filter/outbox/r1/train.jsonl)"]
    assert found["example"] == example and example["made"]["persona"] in found["made_by"]
    reply = json.loads((there.folder / found["call"]["file"]).read_bytes())
    assert found["call"]["file"] == f"llm/outbox/{example['made']['call']}.json"
    assert (found["call"]["usd"], found["call"]["attempts"]) == (reply["usd"], 1) and found["call"]["profile"] == "one"
    (span,) = found["spans"]
    text = collected[1][example["spans"][0]["source"]]
    assert text[span["start"] : span["end"]] == span["text"]
    assert span["before"] + span["text"] + span["after"] in text and len(span["before"] + span["after"]) > 100
    assert all(score["score"] >= 2 for score in found["judged"]["scores"].values())
    assert found["judge_call"]["file"] == f"llm/outbox/{found['judged']['call']}.json" != found["call"]["file"]
    lines = why(there, one["id"]).stdout
    for part in (
        found["call"]["file"],
        "1 attempt",
        "$0.000000",
        "of 5 (4 needed)",
        f"»{span['text'].splitlines()[0][:40]}",
    ):
        assert part in lines


def test_a_row_that_was_cut_names_its_wording(taught, examples):
    there, _ = taught
    one = next(row for row in there.rows("train.jsonl") if "made" not in examples[row["id"]])
    found = explained(there, one["id"])
    assert found["call"] is found["judged"] is None
    assert found["made_by"].startswith("rules, no model: ")
    assert f" {examples[one['id']]['template']} of agents/teacher/wordings.toml: " in found["made_by"]
    assert found["spans"][0]["text"] in found["example"]["answer"] or len(found["spans"]) > 1
    assert "\x1b" not in why(there, one["id"]).stdout


def test_what_was_dropped_says_why_and_a_judges_drop_names_its_scores(taught):
    there, _ = taught
    for reason in ("judge", "spare-wording"):
        one = next(row for row in there.rows("dropped.jsonl") if row["reason"] == reason)
        found = explained(there, one["id"])
        (verdict,) = found["verdicts"]
        assert verdict.startswith(f"round 1: dropped, {reason} ({REASONS[reason]}): {one['detail']}")
        if reason == "judge":
            assert found["judged"]["call"] in one["detail"] and found["judge_call"]["file"] in verdict


def test_exam_questions_of_each_slice_are_explained(taught):
    there, _ = taught
    for name in ("taught", "unseen", "general", "validation"):
        items = [*there.rows("exam.jsonl"), *there.rows("validation.jsonl")]
        found = explained(there, next(one["id"] for one in items if one["slice"] == name))
        whose = f"the exam, slice {name}: " if name != "validation" else "validation: "
        assert found["verdicts"][0].startswith(f"round 1: a question of {whose}")
        assert (found["example"] is None) == (found["text"] is not None) == (name == "general")


def test_a_pair_that_was_left_out_says_why_and_leads_to_its_call(taught, examples):
    there, _ = taught
    path = there.out("30-generate") / "left_out.jsonl"
    left = [json.loads(line) for line in path.read_bytes().splitlines()]
    given = Counter(row["id"] for row in left)
    one = next(row for row in left if given[row["id"]] == 1 and row["id"] not in examples)
    found = explained(there, one["id"])
    (verdict,) = found["verdicts"]
    assert f"was left out, {one['reason']}" in verdict and "30-generate/outbox/r1/left_out.jsonl" in verdict
    assert found["call"]["file"] == f"llm/outbox/{one['call']}.json" and found["question"] == one["question"]
    lines = why(there, one["id"]).stdout
    assert one["question"] in lines and f"llm/outbox/{one['call']}.json" in lines and "prompts.toml" in lines
    twice = next(row for row in left if row["reason"] == "asked twice" and row["id"] in examples)
    said = explained(there, twice["id"])["verdicts"]
    assert any("asked twice" in verdict for verdict in said) and len(said) > 1


def test_mistakes_are_told_in_one_line(taught, tmp_path):
    there, _ = taught
    known = there.rows("train.jsonl")[0]["id"]
    near = known[:-1] + ("0" if known[-1] != "0" else "1")
    for item, says in (
        (near, f"did you mean {known}?"),
        ("../../etc/passwd", "is no id"),
        ("e-ffffffffffff", "has no item"),
    ):
        ended = why(there, item)
        assert ended.returncode == 2 and says in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert small.command("why", tmp_path / "nowhere", known).returncode == 2
    copy = shutil.copytree(there.folder, tmp_path / "copy")
    call = next(one["made"]["call"] for one in there.examples() if "made" in one and one["use"] == "teach")
    item = next(one["id"] for one in there.examples() if one.get("made", {}).get("call") == call)
    path = copy / "llm" / "outbox" / f"{call}.json"
    reply = files.read_json(path)
    reply["call"]["messages"][0]["content"] += "!"
    path.write_bytes(files.canonical(reply))
    ended = small.command("why", copy, item)
    assert ended.returncode == 1 and f"llm/outbox/{call}.json: answers another question" in ended.stderr
    path.unlink()
    assert small.command("why", copy, item).returncode == 0  # a run without its calls is explained without them
