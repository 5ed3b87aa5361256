"""The report on models: what their calls cost by step and profile, who spoke, who judged, what was left out."""

import dataclasses
from pathlib import Path
from typing import Any

from agents._config import BY_HAND
from agents.models.bill import Bill, Line, bill
from agents.pages import calls, story
from agents.pages.page import Paragraph, markdown
from bus import schema
from tests.asking import profile, question
from tests.golden import GOAL, golden
from tests.scripted.fixture import Scripted
from tests.stepping import Stepping
from tests.test_report import HOSTILE, Tags, pages, reply, told, verdict

JUDGED = {"verdict": "cannot tell", "why": "w", "n": 20, "wins": 4, "losses": 2, "ties": 14, "flips": 9, "left_out": 3,
          "moved": 6, "difference": 0.1, "low": -0.1, "high": 0.3}  # fmt: skip
JUDGE = {"profiles": ["one"], "models": ["scripted"], "teachers_own": True, "useless": 0}


def judged_verdict(**judge: Any) -> dict[str, Any]:
    document = verdict()
    document["slices"]["unseen"]["judged"] = JUDGED
    return schema.check(document | {"judge": JUDGE | judge}, "verdict.v1")


def measured(there: Stepping) -> None:
    """Answer every step before the report by hand."""
    known = told()
    there.reply("00-orient", {f"{name}.json": golden(f"{name}.v1") for name in ("state", "hardware", "recalled")})
    there.reply("10-research", {"topics.json": golden("topics.v1"), "report.md": "x"})
    made = {"profile": "one", "model": "scripted", "wanted": 50, "kept": 41}
    rows = [golden("source.v1"), golden("source.v1", id="generated-x", kind="generated", generated=made)]
    there.reply("20-collect", {"sources.jsonl": rows})
    there.reply("30-generate", {"generated.json": golden("generated.v1")})
    there.reply("40-filter", {"dataset.json": golden("dataset.v1")})
    metrics = [golden("metric.v1", step=n, loss=5 / n) for n in range(1, 30)]
    there.reply("50-train", {"training.json": golden("training.v1"), "metrics.jsonl": metrics})
    scored = {"answers.jsonl": list(known.answers), "scores.jsonl": list(known.scores)}
    there.reply("60-evaluate", scored | {"verdict.json": judged_verdict()})


def asked(there: Stepping) -> Bill:
    """Two calls of the teacher, the second of no use, one of the judge whose dollars nobody knows, one not paid for."""
    with there.agent():
        there.asker("30-generate").one("teacher", question("Say it."))
        there.asker("30-generate").one("teacher", question("Refuse it."))
        there.asker("60-evaluate").one("judge", question("Judge it."))
        there.asker("60-evaluate").one("judge", question("Judge it.", max_tokens=8192))
    return bill(there.llm)


def test_the_report_tells_calls_tokens_dollars_and_what_was_left_out(tmp_path: Path) -> None:
    rules = [
        {"when": {"words": "Refuse it."}, "text": "I cannot help with that."},
        {"when": {"words": "Judge it."}, "usage": False},
    ]
    price = {"input": 100.0, "output": 100.0}
    with Scripted(tmp_path / "server", rules=rules) as server:
        models = {"one": profile(server.url, price=price)}
        there = Stepping(tmp_path, GOAL, models, "teacher", "judge", usd=1.0, call={"usd": 0.6})
        measured(there)
        spent = asked(there)
    teacher, judge = spent.lines["30-generate", "one"], spent.lines["60-evaluate", "one"]
    assert (len(teacher.calls), teacher.unknown, len(judge.calls), judge.unknown) == (2, 0, 1, 1)
    paid = [row["usd"] for row in there.ledger() if row["event"] == "settle" and row["usd"]]
    assert teacher.usd == sum(paid) > 0 and teacher.input > 0 and teacher.output > 0
    there.step("report")
    text = there.out("70-report", "report.md")
    assert f"| 30-generate | one | 2 | {teacher.input} | {teacher.output} | {teacher.usd:.4f} |" in text
    assert "| 60-evaluate | one | 1 |" in text and "| unknown |" in text
    assert f"The dollars of 1 attempts are unknown; the others cost {teacher.usd:.4f}." in text
    assert "Role judge: scripted (profile one)." in text and "Teacher: scripted, a model" in text
    assert "30-generate: 1 answers were of no use" in text and "60-evaluate: 1 calls were given up (budget)" in text
    assert "60-evaluate: 3 long answers of unseen were not judged." in text
    assert "41 of 50 error scenarios, written by scripted" in text
    assert "1,120 of the teacher's model are taught, 1,500 were wanted" in text
    assert "333 of 402 pieces of the sources were left out; budget.usd: $2.00" in text
    assert "judged by the teacher's own model" in text
    assert "| unseen | cannot tell | 20 | 4 | 2 | 14 | 9 | 3 | +0.100 | -0.100 to +0.300 |" in text
    assert there.out("70-report", "report.html").count("<h2>Models</h2>") == 1
    assert not [name for name in there.out("70-report", "reply.json")["read"] if name.startswith("llm/")]


def test_a_run_that_asked_no_model_has_no_word_about_models() -> None:
    without, empty = told(), dataclasses.replace(told(), spent=Bill())
    assert pages(without) == pages(empty) and "## Models" not in pages(without)[0]


def test_whom_somebody_asked_by_hand_is_paid_and_has_not_spoken_for_the_run(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", rules=[{"when": {"words": "Refuse it."}, "text": "I cannot."}]) as server:
        there = Stepping(tmp_path, GOAL, {"one": profile(server.url)}, "teacher", "judge")
        measured(there)
        with there.agent():
            for text in ("Say it.", "Refuse it."):
                there.asker(BY_HAND).one("teacher", question(text))
        there.step("report")
        spent, text = bill(there.llm), there.out("70-report", "report.md")
        assert not spent.spoke and not spent.useless and len(spent.lines[BY_HAND, "one"].calls) == 2
        assert story.TEACHER in text.replace("\\", "") and f"| {BY_HAND} | one | 2 |" in text and "Role " not in text
        with there.agent():
            there.asker("30-generate").one("teacher", question("Write it."))
        assert bill(there.llm).spoke == {"teacher": {("one", "scripted")}}


def test_a_reservation_that_nobody_settled_is_unknown_and_torn_lines_are_passed_over(tmp_path: Path) -> None:
    rows = [
        '{"n":1,"event":"reserve","call":"a","step":"s","profile":"p","usd":0.5,"tokens":9}',
        '{"n":2,"event":"reserve","call":"b","step":"s","profile":"p","usd":0.5,"tokens":9}',
        '{"n":1,"event":"settle","call":"a","usd":0.25,"tokens":5,"input":3,"output":2}',
        '{"n":3,"event":"res',
    ]
    (tmp_path / "ledger.jsonl").write_text("\n".join(rows))
    assert bill(tmp_path).lines["s", "p"] == Line({"a", "b"}, 3, 2, 0.25, 1)
    assert not bill(tmp_path / "nothing") and bill(tmp_path)


def test_only_the_teachers_own_model_is_told_on() -> None:
    for own in (True, False):
        blocks = calls.judged(dataclasses.replace(told(), verdict=judged_verdict(teachers_own=own)))
        said = " ".join(block.text for block in blocks if isinstance(block, Paragraph))
        assert ("judged by the teacher's own model" in said.lower()) is own


def test_hostile_names_of_models_add_no_tag() -> None:
    def page(text: str) -> Tags:
        spent = Bill(spoke={"judge": {("one", text)}}, lines={("60-evaluate", text): Line({"a"}, 1, 1, 0.1, 0)})
        return Tags(pages(dataclasses.replace(told(), spent=spent, verdict=judged_verdict(models=[text])))[1])

    assert page(HOSTILE).tags == page("plain").tags


def spoken(**changed: Any) -> str:
    """The section on models of a report."""
    known = dataclasses.replace(told(), spent=Bill(lines={("a", "p"): Line({"1"}, 10, 1, 0.1)}), **changed)
    return markdown("t", [story.Section("Models", calls.models(known))])


def test_what_was_given_up_is_no_answer() -> None:
    lost = golden("generated.v1", prompts=1000, answers={"unanswered: budget": 950, "good": 40, "unfit": 10})
    text = spoken(generated=lost)
    assert "Of 1,000 questions to it 50 were answered (40 good, 10 unfit), 950 given up (950 budget)." in text
    none = golden("generated.v1", prompts=950, answers={"unanswered: budget": 950})
    assert "Of 950 questions to it 0 were answered (none), 950 given up (950 budget)." in spoken(generated=none)


def test_what_steps_went_without_comes_with_how_to_have_it() -> None:
    def replied(step: str, **lacks: int) -> dict[str, Any]:
        return reply(step, 1.0) | ({"unanswered": lacks} if lacks else {})

    judge = {**golden("dataset.v1").get("judge", {}), "unanswered": {"budget": 900, "unfit": 2}}
    text = spoken(
        replies=[replied("40-filter", budget=900), replied("30-generate", budget=25), replied("50-train")],
        dataset=golden("dataset.v1", judge=judge),
    )
    assert "40-filter: 902 examples of a model were not judged (900 budget, 2 unfit)." in text
    how = "raise the budget in config/infra.yaml, then in the run's folder rm -r 30-generate/outbox/r1, and start"
    assert text.count(how) == 1 and "what was answered is not paid again" in text
    other = spoken(replies=[replied("60-evaluate", model=3)])
    assert "To have what was left out: mend what llm/dead says (a key, a price, an endpoint), then" in other
    assert "To have what was left out" not in spoken(replies=[replied("30-generate")])


def test_profiles_are_summed_where_there_are_several() -> None:
    lines = {
        ("a", "p"): Line({"1"}, 10, 1, 0.1),
        ("b", "p"): Line({"2"}, 20, 2, 0.2),
        ("b", "q"): Line({"3"}, 5, 5, 0.0, 1),
    }
    text = markdown("t", [story.Section("Models", calls.models(dataclasses.replace(told(), spent=Bill(lines=lines))))])
    assert (
        "| all steps | p | 2 | 30 | 3 | 0.3000 |" in text and "| all steps | together | 3 | 35 | 8 | unknown |" in text
    )
