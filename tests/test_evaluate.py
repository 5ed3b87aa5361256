"""Does the verdict say what the answers show, and nothing more?"""

import json
import random

import pytest

from agents import _config, evaluate
from agents import _statistics as statistics
from agents._agent import Agent
from agents._codes import GAVE_UP
from agents._run import create_run
from bus import files, schema
from golden import GOAL, commit, golden


def item(name, slice="taught", answer="torch.cuda.empty_cache", short=True, family=None, topic="cuda"):
    known = slice != "general"
    return {
        "schema": "item.v1",
        "id": name,
        "slice": slice,
        "family": (family or f"f-{name}") if known else None,
        "topic": topic if known else None,
        "kind": "qa" if known else None,
        "question": f"what about {name}?" if known else "",
        "answer": answer,
        "short": short and known,
    }


def exam(n=40):
    """n taught, unseen and general items, and the answers of a base that knows nothing."""
    items = [item(f"{s}-{i}", s, answer=f"value_{s}_{i}") for s in ("taught", "unseen", "general") for i in range(n)]
    return items, {one["id"]: {"id": one["id"], "text": "the the", "loss": 5.0} for one in items}


def judged(items, base, specialist, seed=0):
    said = {"base": base, "specialist": specialist}
    scores = evaluate.score_all(items, said, seed)
    for row in scores:
        schema.check(row, "score.v1")
    verdict = evaluate.judge(items, scores, seed) | {"exam_sha256": "0" * 64}
    return schema.check(verdict, "verdict.v1")["slices"], scores


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("`torch.cuda.empty_cache()`.", "torch.cuda.empty_cache", True),
        ("  ENOMEM\n", "enomem", True),
        ('"Out of  memory"', "out of memory", True),
        ("-1", "1", False),
        (".5", "5", False),
        ("<=", ">=", False),
        ("()", "[]", False),
        ("", "0", False),
        ("__init__", "init", False),
        ("*args", "**args", False),
    ],
)
def test_exact_match_folds_form_and_keeps_meaning(answer, reference, same):
    assert statistics.exact(answer, reference) == float(same)


def test_token_f1_against_hand_counted_values():
    assert statistics.token_f1("the cache is freed", "the cache is freed") == 1.0
    assert statistics.token_f1("the cache", "the big cache") == pytest.approx(2 * 2 / (2 + 3))
    assert statistics.token_f1("the the the", "the cache") == pytest.approx(2 * 1 / (3 + 2))  # counted once
    assert statistics.token_f1("", "the cache") == 0.0
    assert statistics.token_f1("<=", "<=") == 1.0  # no words on either side: exact


def test_babble_gets_nothing_and_a_right_answer_nearly_everything():
    pool = [f"The function number {n} returns the size of buffer {n} in the device memory {n}." for n in range(50)]
    babble, right = [], []
    for n, reference in enumerate(pool):
        others = statistics.others(reference, pool, statistics.rng(1, str(n)))
        assert reference not in others and len(others) == statistics.SHUFFLES
        babble.append(statistics.adjusted_f1("The function returns the size of the memory", reference, others))
        right.append(statistics.adjusted_f1(reference, reference, others))
    assert statistics.token_f1("The function returns the size of the memory", pool[0]) > 0.5  # what it would get raw
    assert abs(statistics.mean(babble)) < 0.01
    assert min(right) > 0.15


def test_shuffled_references_are_seeded_and_never_equal_after_normalising():
    pool = ["`a b c d e f g`", "A b c d e f g.", "h i j", "k l m"]
    first = statistics.others("a b c d e f g", pool, statistics.rng(7, "x"))
    assert first == statistics.others("a b c d e f g", pool, statistics.rng(7, "x"))
    assert sorted(first) == ["h i j", "k l m"]


def test_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)  # for speed; coverage hardly depends on it
    source, covered = random.Random(5), 0
    for trial in range(200):
        sums = [(source.gauss(0.3, 1.0), 1) for _ in range(50)]
        low, high = statistics.interval(sums, trial)
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval_has_the_width_of_the_normal_theory():
    source = random.Random(2)
    differences = [source.gauss(1.0, 2.0) for _ in range(400)]
    found = statistics.compare([0.0] * 400, differences, [str(n) for n in range(400)], seed=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.12)
    assert found.low < found.difference < found.high


def test_wordings_of_one_fact_are_one_piece_of_evidence():
    """The same 20 facts asked five times each must not give a narrower interval than asked once."""
    source = random.Random(3)
    facts = [source.gauss(0.2, 1.0) for _ in range(20)]
    once = statistics.compare([0.0] * 20, facts, [str(n) for n in range(20)], seed=0)
    five = statistics.compare([0.0] * 100, facts * 5, [str(n) for n in range(20)] * 5, seed=0)
    alone = statistics.compare([0.0] * 100, facts * 5, [str(n) for n in range(100)], seed=0)
    assert (five.high - five.low) == pytest.approx(once.high - once.low, rel=0.05)
    assert (alone.high - alone.low) < 0.6 * (five.high - five.low)


def test_compare_refuses_unpaired_and_unfinite_values():
    with pytest.raises(ValueError, match="not paired"):
        statistics.compare([0.0], [0.0, 1.0], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="finite"):
        statistics.compare([0.0, 1.0], [float("nan"), 1.0], ["a", "b"], seed=0)


@pytest.mark.parametrize(
    ("low", "high", "moved", "lower_is_better", "word"),
    [
        (0.1, 0.2, 20, False, "better"),
        (-0.2, -0.1, 20, False, "worse"),
        (0.1, 0.2, 20, True, "worse"),
        (-0.2, -0.1, 20, True, "better"),
        (-0.1, 0.2, 20, False, "cannot tell"),
        (0.0, 0.2, 20, False, "cannot tell"),
        (0.0, 0.0, 0, True, "cannot tell"),
        (0.01, 0.2, 5, False, "cannot tell"),  # five of five the same way: p = 0.06
        (0.01, 0.2, 6, False, "better"),
    ],
)
def test_the_verdict_follows_the_interval_and_its_sign(low, high, moved, lower_is_better, word):
    found = statistics.Comparison(100, moved, 0.0, 0.0, (low + high) / 2, low, high)
    assert statistics.verdict(found, lower_is_better)[0] == word


def test_three_slices_three_words():
    """A specialist that learned what it was taught, knows nothing else, and lost general language."""
    items, base = exam()
    specialist = {name: dict(row) for name, row in base.items()}
    for one in items:
        if one["slice"] == "taught":
            specialist[one["id"]] |= {"text": f"`{one['answer']}`.", "loss": 1.0}
        if one["slice"] == "general":
            specialist[one["id"]]["loss"] = 5.2 + random.Random(one["id"]).random() / 10
    slices, scores = judged(items, base, specialist)
    assert {name: found["verdict"] for name, found in slices.items()} == {
        "taught": "better",
        "unseen": "cannot tell",
        "general": "worse",
    }
    assert slices["taught"]["specialist"] == 1.0 and slices["taught"]["base"] == 0.0
    assert slices["taught"]["loss"]["difference"] == -4.0
    assert slices["unseen"]["moved"] == 0 and slices["unseen"]["low"] == slices["unseen"]["high"] == 0.0
    assert slices["general"]["measure"] == "loss" and slices["general"]["difference"] > 0.2
    assert sum(row["measure"] == "loss" for row in scores) == len(items)
    assert all(row["measure"] == "loss" for row in scores if row["slice"] == "general")


def test_a_lower_loss_on_general_text_is_better():
    items, base = exam()
    specialist = {name: row | {"loss": row["loss"] - 0.5} for name, row in base.items()}
    slices, _ = judged(items, base, specialist)
    assert slices["general"]["verdict"] == "better" and slices["general"]["high"] < 0
    assert slices["taught"]["verdict"] == "cannot tell"  # a lower loss alone is no right answer


def test_scores_do_not_depend_on_the_order_of_items_and_the_seed_gives_the_same_file():
    items, base = exam(4)
    long = [item(f"long-{n}", answer=f"the size of buffer {n} in bytes on device {n}", short=False) for n in range(60)]
    base |= {one["id"]: {"id": one["id"], "text": "the size of the buffer", "loss": 4.0} for one in long}
    specialist = {name: row | {"text": "the size of buffer 3 in bytes"} for name, row in base.items()}
    said = {"base": base, "specialist": specialist}
    forward = evaluate.score_all(items + long, said, 4)
    backward = evaluate.score_all(long[::-1] + items[::-1], said, 4)
    assert sorted(map(json.dumps, forward)) == sorted(map(json.dumps, backward))
    assert {row["measure"] for row in forward if row["item"].startswith("long")} == {"f1", "loss"}
    assert forward != evaluate.score_all(items + long, said, 5)


def test_a_single_long_item_is_held_to_an_exact_match():
    one = item("long-0", answer="frees the cached blocks that no tensor uses", short=False)
    said = {model: {"long-0": {"text": "frees the cached blocks", "loss": 1.0}} for model in evaluate.MODELS}
    rows = evaluate.score_all([one], said, 0)
    assert rows[0]["measure"] == "exact" and rows[0]["specialist"] == 0.0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows.pop(), "1 ids are missing or unknown"),
        (lambda rows: rows.append(dict(rows[0])), "answered twice"),
        (lambda rows: rows.append({"id": "stranger", "text": "", "loss": 1.0}), "stranger"),
        (lambda rows: rows[3].update(loss=float("nan")), "loss nan is no number"),
        (lambda rows: rows[3].update(loss=float("inf")), "loss inf is no number"),
        (lambda rows: rows[3].update(loss=None), "loss None is no number"),
    ],
)
def test_missing_and_unusable_answers_are_errors_and_never_zeros(spoil, says):
    items, base = exam(4)
    rows = [dict(row) for row in base.values()]
    assert evaluate.check_answers("base", items, rows) == base
    spoil(rows)
    with pytest.raises(ValueError, match=says):
        evaluate.check_answers("base", items, rows)


def test_an_exam_without_a_slice_or_with_double_ids_is_refused():
    items, _ = exam(2)
    evaluate.check_items(items)
    with pytest.raises(evaluate.GiveUp, match="no unseen items"):
        evaluate.check_items([one for one in items if one["slice"] != "unseen"])
    with pytest.raises(evaluate.GiveUp, match="one id"):
        evaluate.check_items([*items, items[0]])


def test_the_models_are_shown_the_question_and_nothing_that_helps():
    items, _ = exam(2)
    assert [set(row) for row in evaluate.questions(items)] == [{"id", "question", "answer"}] * len(items)


def test_answer_rows_follow_their_schema_and_general_text_is_not_copied():
    one, passage = item("taught-1"), item("general-1", "general", answer="a long passage")
    said = {"text": "x", "loss": 1.0}
    row = schema.check(evaluate.answer_row(one, said, said), "answer.v1")
    assert row["reference"] == one["answer"] and row["question"] == one["question"]
    assert "a long passage" not in json.dumps(schema.check(evaluate.answer_row(passage, said, said), "answer.v1"))


@pytest.mark.parametrize("touched", ["exam", "validation"])
def test_an_exam_that_is_not_the_sealed_one_is_refused_for_good(tmp_path, touched):
    """filter replied with it, whole; but it is not what filter says that it sealed."""
    config = _config.load()
    run = create_run(tmp_path / "gpu-ops", GOAL, 1, config.flow, config.services, "1")
    rows = {"exam": [item("taught-1")], "validation": [item("validation-1", "validation")]}
    sealed = {f"{name}_sha256": files.sha256(b"".join(map(files.canonical, own))) for name, own in rows.items()}
    sealed[f"{touched}_sha256"] = "0" * 64
    artifacts = {f"{name}.jsonl": own for name, own in rows.items()}
    commit(run, "40-filter", {**artifacts, "dataset.json": golden("dataset.v1", **sealed)})
    for step, name in (("00-orient", "hardware"), ("50-train", "training")):
        commit(run, step, {f"{name}.json": golden(f"{name}.v1")})
    asked = {"schema": "request.v1", "id": "r1", "step": "60-evaluate", "round": 1}
    run.mailbox("60-evaluate").put("r1", asked)
    assert Agent(evaluate.evaluate, run, "60-evaluate", config, loud=False).once() == GAVE_UP
    dead = json.loads((run.folder / "60-evaluate" / "dead" / "r1.json").read_text())
    assert f"40-filter/{touched}.jsonl" in dead["message"] and "is not the sealed 000000000000" in dead["message"]
