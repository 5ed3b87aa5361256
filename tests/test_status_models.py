"""bin/status of a run that asks models: what is in flight, and what was given up, summed by its reasons."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from _live import table
from _look import rows
from _models import budget_told
from agents._budget import GOAL_SAYS
from bus.run import Run
from tests import small
from tests.asking import Asking, profile, question
from tests.processes import eventually
from tests.scripted.fixture import Scripted

GONE = "budget: usd: 0.0199 of 0.02 is spent or reserved, and this call may take 0.001; raise it in config/infra.yaml"


def llm_line(folder: Path) -> str:
    (line,) = (line for line in small.command("status", folder).stdout.splitlines() if line.startswith("llm: "))
    return line


def test_only_calls_of_a_living_agent_are_in_flight(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", default={"wire": "silent"}) as server:
        there = Asking(tmp_path, {"one": profile(server.url, timeout_s=60)})
        with there.agent() as agent:
            asker = there.asker()
            asker.put([asker.call("teacher", question(text)) for text in "ab"])
            eventually(lambda: len(there.ledger()) == 2)
            assert llm_line(there.folder).startswith("llm: 2 waiting, 2 in flight, ")
            agent.kill()
            agent.wait()
        line = llm_line(there.folder)
        assert line.startswith("llm: 2 waiting, 0 in flight, 2 reserved by agents that were killed, "), line


def test_dead_calls_are_summed_by_reason(tmp_path: Path) -> None:
    there = Asking(tmp_path, {"one": profile("http://127.0.0.1:9/v1")})
    run = Run(there.folder)
    box = run.mailbox("llm")
    box.durable = False
    for n in range(1_020):
        box.bury(f"b{n}", "budget", GONE)
    for n in range(3):
        box.bury(f"m{n}", "model", f"one: 401: no such key {n}")
    run.close()
    assert llm_line(there.folder) == "llm: 1,023 dead (1,020 budget, 3 model)"
    lines = small.command("status", there.folder).stdout.splitlines()
    assert [line for line in lines if line.startswith("dead: ")] == [
        "dead: llm: 3 model, the first is m0: one: 401: no such key 0"
    ]
    (budget,) = (line for line in lines if line.startswith("budget: "))
    assert budget.startswith("budget: usd: 0.0199 of 0.02 ") and "models were asked nothing more" in budget
    assert "stop the run (touch " in budget and budget.endswith("what was answered is not paid again")


def test_steps_that_went_without_answers_are_named_with_what_brings_them(tmp_path: Path) -> None:
    def answered(step: str, **lacks: int) -> None:
        (claim,) = run.mailbox(step).claims()
        facts = {"read": {}, "seconds": 0.0, "cpu_s": 0.0, "usd": 0.0, "gpu_s": 0.0}
        claim.begin()
        claim.commit_folder(facts | ({"unanswered": lacks} if lacks else {}))
        run.advance()

    run = Run(Asking(tmp_path, {"one": profile("http://127.0.0.1:9/v1")}).folder)
    run.advance()
    answered("10-list", model=2, budget=1)
    answered("20-sum", model=1)
    run.mailbox("llm").bury("m", "model", "one: SOME_KEY is not set; export it before the run is started")
    (line,) = (one for one in small.command("status", run.folder).stdout.splitlines() if " went without " in one)
    assert line.startswith(
        "10-list r1 went without 3 answers (1 budget, 2 model); 20-sum r1 went without 1 answer (model)"
    )
    assert (
        "raise the budget in config/infra.yaml, mend what kept them from being answered (one: SOME_KEY is not" in line
    )
    assert f"rm -r {run.folder}/10-list/outbox/r1, bin/pipeline {run.folder}/goal.md; " in line
    run.close()


def test_a_damaged_letter_is_counted_and_named(tmp_path: Path) -> None:
    there = Asking(tmp_path, {"one": profile("http://127.0.0.1:9/v1")})
    (there.asker().mailbox.folder / "dead" / "x.json").write_text("{")
    lines = small.command("status", there.folder).stdout.splitlines()
    assert "llm: 1 dead (1 unreadable)" in lines
    assert any(
        line.startswith("dead: llm: 1 unreadable, the first is x: its letter cannot be read: ") for line in lines
    )


@pytest.mark.parametrize(
    ("name", "advice", "stopped", "end"),
    [
        ("usd", "raise it in here", "models were asked nothing more", "for more, raise it in here, then do so"),
        ("steps.30-generate.usd", "raise it in here", "30-generate asked models nothing more", "then do so"),
        ("call.tokens", "raise it in here", "questions as dear as that were left out", "then do so"),
        ("tokens", GOAL_SAYS, "models were asked nothing more", "what it has; " + GOAL_SAYS),
    ],
)
def test_the_end_of_a_budget_says_what_it_stopped_and_how_to_go_on(
    name: str, advice: str, stopped: str, end: str
) -> None:
    told = budget_told(name, f"budget: {name}: 5 of 5 is spent; {advice}", ", then do so")
    assert told.startswith(f"budget: {name}: 5 of 5 is spent: {stopped}, and the run goes on") and told.endswith(end)


def test_the_live_table_has_a_line_for_what_cannot_be_reached(finished: Path) -> None:
    beat = {
        "state": "working",
        "agents": {"llm": {"say": "cannot reach http://x/v1 (no)", "numbers": {"next_try_s": 12}}},
    }
    run = Run(finished)
    for given, shown in ((beat, True), ({"state": "working", "agents": {"llm": {"numbers": {}}}}, False)):
        Console(file=(screen := StringIO()), width=120).print(table(run, rows(run, given), given))
        assert ("llm: cannot reach http://x/v1 (no), next try in 12 s\n" in screen.getvalue()) == shown
