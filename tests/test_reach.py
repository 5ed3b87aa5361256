"""A model server that gives no answers is told where people look, with what is wrong and when it is tried again."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from agents.models.endpoint import Failure
from agents.models.profile import Profile
from agents.models.reach import IN_A_ROW, Reach
from tests import modelled, tiny
from tests.processes import eventually
from tests.scripted.fixture import Scripted

LOCAL = Profile("local", "http://127.0.0.1:8000/v1", "m")


def test_a_server_that_is_down_is_told_until_it_answers(tmp_path: Path) -> None:
    goal, runs = tiny.write_goal(tmp_path), tmp_path / "runs"
    with Scripted(tmp_path / "server", modelled.ANSWERS) as server:
        config = modelled.write_config(tmp_path, server.url, "20-collect")
        server.stop()
        shell = tiny.start(goal, runs, config)
        try:
            down = f"llm: cannot reach {server.url} (connection refused), "
            told = re.compile(f"^{re.escape(down)}(next try in [0-9]+ s|tried again now)$", re.MULTILINE)
            eventually(
                lambda: (runs / "tiny/llm/inbox").is_dir() and told.search(tiny.command_of("status", runs / "tiny"))
            )
            server.start()
            printed, _ = shell.communicate(timeout=240)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGINT)
                shell.wait(60)
        assert shell.returncode == 0 and len(told.findall(printed)) == 1, printed
        last = json.loads((runs / "tiny/supervisor/heartbeat.json").read_text())["agents"]["llm"]
        assert "next_try_s" not in last["numbers"] and last["numbers"]["tokens"] > 0


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Failure("connection", "local: connection refused", sent=False), "cannot reach {} (connection refused)"),
        (Failure("timeout", "local: timed out"), "{} gives no answers (timed out)"),
        (Failure("server", "local: 503: overloaded", 503), "{} gives no answers (503: overloaded)"),
        (Failure("auth", "local: 401: no such key", 401, sent=False), "{} gives no answers (401: no such key)"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_is_wrong_is_told_after_some_failures_in_a_row(failure: Failure, told: str) -> None:
    reach = Reach()
    for _ in range(2):
        for _ in range(IN_A_ROW):
            assert reach.down() == {}
            reach.failed(LOCAL, failure)
        assert reach.down() == {"local": told.format(LOCAL.endpoint)}
        reach.answered(LOCAL)
    assert reach.down() == {}


@pytest.mark.parametrize("kind", ["busy", "request"])
def test_a_server_that_is_asked_too_much_or_wrongly_is_not_down(kind: str) -> None:
    reach = Reach()
    for _ in range(2 * IN_A_ROW):
        reach.failed(LOCAL, Failure(kind, "local: 429: later", 429))  # type: ignore[arg-type]
    assert reach.down() == {}


def test_a_wait_that_a_server_asks_for_is_told_once_it_is_long() -> None:
    reach = Reach()
    reach.failed(LOCAL, Failure("busy", "local: 429: later", 429, 20.0, sent=False))
    assert reach.down() == {}
    reach.failed(LOCAL, Failure("busy", "local: 429: it wants to be left alone for 9e+09 s", 429, 3600.0, sent=False))
    assert reach.down() == {"local": f"{LOCAL.endpoint} gives no answers (429: it wants to be left alone for 9e+09 s)"}
