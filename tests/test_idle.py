"""Whose fault is the death of an agent that has many calls in hand? Of none that only waits."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from agents._idle import idle
from bus import tries
from bus.mailbox import Mailbox
from tests.asking import Asking, profile, question
from tests.processes import eventually
from tests.scripted.fixture import Scripted

TEXT = "Who is it?"


def test_a_call_that_waits_for_its_server_at_each_death_of_its_agent_is_not_given_up(tmp_path: Path) -> None:
    with Scripted(tmp_path / "silent", default={"wire": "silent"}) as server:
        there = Asking(tmp_path, {"one": profile(server.url, timeout_s=600)})
        (id,) = there.asker().put([there.asker().call("teacher", question(TEXT))])
        ledger, letter = there.llm / "ledger.jsonl", there.llm / "dead" / f"{id}.json"
        for number in range(1, tries.DEATHS + 3):
            with there.agent() as agent:
                eventually(lambda n=number: sent(ledger) == n or letter.exists())
                agent.kill()
            assert not letter.exists(), letter.read_text()
    with Scripted(tmp_path / "server", default={"text": "It is me."}) as server:
        there = Asking(tmp_path, {"one": profile(server.url)})
        with there.agent():
            answer = there.ask(TEXT)
    assert isinstance(answer, dict) and answer["text"] == "It is me."


def sent(ledger: Path) -> int:
    """How many attempts the ledger has; each is written there before it is sent."""
    return ledger.read_bytes().count(b'"event":"reserve"') if ledger.exists() else 0


@pytest.mark.parametrize("waiting", [True, False])
def test_a_death_counts_but_while_it_only_waits(service_box: Mailbox, waiting: bool) -> None:
    service_box.put("q", {})
    claim = service_box.claim("q")
    assert claim is not None
    if waiting:
        waits = idle(claim)
        waits.__enter__()
    else:
        with idle(claim):
            pass
    claim.close()  # as the kernel does when its holder dies
    with closing(Mailbox(service_box.folder, folders=False, request=None, reply=None)) as box:
        assert box.claim("q") is not None
        assert len(tries.all_tries(box.work("q"))) == (not waiting)
