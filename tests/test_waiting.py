"""Each profile has room for its own calls: what waits for a slow server keeps nobody from a quick one."""

from collections import Counter
from pathlib import Path

import pytest

from agents.models.waiting import BESIDE
from tests.asking import Asking, profile, question
from tests.processes import eventually
from tests.scripted.fixture import Scripted


def test_a_backlog_at_one_server_keeps_nobody_from_another(tmp_path: Path) -> None:
    with Scripted(tmp_path / "a", default={"wire": "silent"}) as slow, Scripted(tmp_path / "b") as quick:
        models = {"slow": profile(slow.url, concurrency=2, timeout_s=60), "quick": profile(quick.url, concurrency=2)}
        there = Asking(tmp_path, models, {"judge": {"prefer": "slow"}, "teacher": {"prefer": "quick"}})
        asker = there.asker()
        asker.put([asker.call("judge", question(str(n))) for n in range(20 * BESIDE)])
        with there.agent() as agent:
            eventually(lambda: len(there.ledger()) == 2)  # the slow one has all that it takes at once
            answers = dict(asker.all("teacher", (question(str(n)) for n in range(3 * BESIDE))))
            agent.kill()  # it would wait for the others
    assert {answer["text"] for answer in answers.values()} == {"ok"} and len(answers) == 3 * BESIDE
    assert slow.billed() == [] and len(quick.asked()) == 3 * BESIDE


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_kill_costs_no_more_calls_than_are_asked_at_once(tmp_path: Path, concurrency: int) -> None:
    """What is answered and not yet in its reply on disk is paid again: it counts like what is in flight."""
    many, kills = 400, 12
    with Scripted(tmp_path / "server") as server:
        there = Asking(tmp_path, {"one": profile(server.url, concurrency=concurrency)})
        asker = there.asker()
        asker.put([asker.call("teacher", question(str(n))) for n in range(many)])
        lost = 0  # by the kills so far: what one has lost may still wait when the next comes
        for number in range(kills):
            with there.agent() as agent:
                eventually(lambda n=number: len(asker.mailbox.listing().replies) >= (n + 1) * many // (kills + 4))
                agent.kill()
                agent.wait()
                paid = Counter(row["body"]["messages"][0]["content"] for row in server.billed())
                before, lost = lost, len(paid) - len(asker.mailbox.listing().replies)
            assert lost <= before + concurrency
        with there.agent():
            answers = dict(asker.all("teacher", (question(str(n)) for n in range(many))))
        assert len(answers) == many and len(server.billed()) <= many + kills * concurrency


def test_what_waits_is_not_marked_as_begun(tmp_path: Path) -> None:
    """Or five kills would give up calls that nobody had sent."""
    with Scripted(tmp_path / "server", default={"wire": "silent"}) as server:
        there = Asking(tmp_path, {"one": profile(server.url, concurrency=2, timeout_s=60)})
        asker = there.asker()
        asker.put([asker.call("teacher", question(str(n))) for n in range(3 * BESIDE)])
        for _ in range(6):
            with there.agent() as agent:
                before = len(there.ledger())
                eventually(lambda before=before: len(there.ledger()) > before)
                agent.kill()
        look = asker.mailbox.listing()
    assert len(look.requests - look.dead) >= 2 * BESIDE - 2
