"""A command that asks models brings an llm agent of its own, for its questions alone, which ends as it does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.models import call as calls
from agents.models.ledger import NAME
from bus import locks
from tests import small
from tests.asking import FREE, Asking, profile
from tests.processes import PATIENCE_S, ROOT, eventually, is_alive
from tests.quoting import DEFAULT, RULES, Quoting
from tests.scripted.fixture import Scripted

KEY = "a-key-of-these-tests-1234"
ASKED = "Who is it?"
NO_KEY = "models: one: SOME_KEY is not set; export it before the run is started, or take one out of `budget: "


def start(there: Asking, name: str = "ask", *words: str, **env: str) -> subprocess.Popen[str]:
    """bin/NAME, by default bin/ask with the usual question; SOME_KEY is not in its environment unless `env` has it."""
    words = words or ("teacher", ASKED, "--run", str(there.folder))
    argv = [sys.executable, str(ROOT / "bin" / name), *words, "--config", str(there.config)]
    clean = {key: value for key, value in os.environ.items() if key != "SOME_KEY"}
    return subprocess.Popen(argv, env=clean | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=2 * PATIENCE_S)
    return child.returncode, out, err


def agents_of(run: Path) -> set[int]:
    """The pids of the llm agents of a run."""
    found = set()
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = one.joinpath("cmdline").read_bytes().split(b"\0")
            if b"agents.llm" in words and os.fsencode(run) in words and is_alive(int(one.name)):
                found.add(int(one.name))
    return found


def put(there: Asking, text: str, role: str = "teacher", profile: str = "one") -> str:
    """A call that some step of the run waits for."""
    call = calls.question(role, profile, "m", [{"role": "user", "content": text}], {"max_tokens": 100}, step="20-sum")
    (id,) = there.asker("20-sum").put([call])
    return id


def keyed(there: Asking, **models: dict[str, Any]) -> Asking:
    """The same on a machine where the profile `one` needs SOME_KEY, and may be paid."""
    infra = yaml.safe_load((there.config / "infra.yaml").read_text())
    infra["models"]["one"] |= {"key_env": "SOME_KEY"}
    infra["budget"] = {"usd": 1, "models": ["one"]}
    (there.config / "infra.yaml").write_text(yaml.safe_dump(infra))
    return there


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Scripted]:
    """Answers `ok`, and takes a second for what says `slowly`."""
    with Scripted(tmp_path / "server", rules=[{"when": {"words": "slowly"}, "latency_s": 1.0}]) as running:
        yield running


@pytest.fixture
def there(tmp_path: Path, server: Scripted) -> Asking:
    return Asking(tmp_path, {"one": profile(server.url)})


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGKILL, -signal.SIGKILL)],
    ids=str,
)
def test_its_agent_ends_with_it_and_keeps_what_is_paid(
    there: Asking, server: Scripted, number: signal.Signals, code: int
) -> None:
    child = start(there, "ask", "teacher", "Answer slowly.", "--run", str(there.folder))
    eventually(lambda: [one["event"] for one in there.ledger()] == ["reserve"])
    (agent,) = agents_of(there.folder)
    child.send_signal(number)
    returned, out, err = ended(child)
    assert (returned, out) == (code, "")
    assert err == ("bin/ask: stopped; the same command goes on\n" if code > 0 else "")
    eventually(lambda: not is_alive(agent))
    assert [one["event"] for one in there.ledger()] == ["reserve", "settle"]
    assert ended(start(there, "ask", "teacher", "Answer slowly.", "--run", str(there.folder)))[1] == "ok\n"
    assert len(server.asked()) == 1 and not agents_of(there.folder)


def test_an_agent_whose_command_has_died_before_it_began_ends(there: Asking) -> None:
    put(there, ASKED)
    read, write = os.pipe()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MAILROOM_CALLS_FD": str(read)}
    child = subprocess.Popen(there.argv(), cwd=ROOT, env=env, pass_fds=[read])
    os.close(read)
    os.close(write)
    child.wait(PATIENCE_S)
    assert there.ledger() == []


def test_it_answers_this_question_alone(there: Asking, server: Scripted) -> None:
    others = {put(there, "Who else?"), put(there, "A role that nobody fills", "coder", "none")}
    (there.llm / "inbox" / "No ID.json").write_text("{}")
    assert ended(start(there))[:2] == (0, "ok\n")
    look = there.asker().mailbox.listing()
    assert set(look.pending) == others and not look.dead and len(look.replies) == 1
    assert [one["body"]["messages"][-1]["content"] for one in server.asked()] == [ASKED]
    assert len({one["call"] for one in there.ledger()} & others) == 0


def test_a_pilot_answers_its_own_questions_alone(tmp_path: Path) -> None:
    with Scripted(tmp_path / "server", default=DEFAULT, rules=RULES) as server:
        quoting = Quoting(tmp_path / "there", server.url, usd=0.000001)
        assert quoting.quote("--pilot").returncode == 100  # not one call fits; the run is made
        infra = yaml.safe_load((quoting.config / "infra.yaml").read_text())
        quoting.write("infra", infra | {"budget": {"usd": 0.05}})
        box = quoting.run / "llm" / "inbox"
        messages = [{"role": "user", "content": "Who waits here?"}]
        parameters = {"max_tokens": 100, "temperature": 0.7}
        call = calls.question("teacher", "one", "scripted", messages, parameters, step="30-generate")
        (box / f"{calls.hash_of(call)}.json").write_text(json.dumps(call))
        assert quoting.quote("--pilot").returncode == 100
        assert not [one for one in server.asked() if "Who waits here?" in str(one["body"])] and server.asked()
    assert (box / f"{calls.hash_of(call)}.json").exists()
    assert not (quoting.run / "llm" / "dead" / f"{calls.hash_of(call)}.json").exists()


def test_two_at_once_take_turns(there: Asking, server: Scripted) -> None:
    texts = ["one, slowly", "two, slowly", "three, slowly"]
    children = [start(there, "ask", "teacher", text, "--run", str(there.folder)) for text in texts]
    assert [ended(child)[:2] for child in children] == [(0, "ok\n")] * 3
    assert len(server.asked()) == 3 and not agents_of(there.folder)


def test_it_says_so_when_its_agent_is_killed(there: Asking) -> None:
    child = start(there, "ask", "teacher", "Answer slowly.", "--run", str(there.folder))
    eventually(lambda: len(there.ledger()) == 1)
    for pid in agents_of(there.folder):
        os.kill(pid, signal.SIGKILL)
    assert ended(child) == (1, "", "bin/ask: small: its llm agent ended (SIGKILL); ask again\n")


def test_a_run_that_is_served_answers_it_and_needs_no_key_of_ours(there: Asking, server: Scripted) -> None:
    keyed(there)
    with there.agent(SOME_KEY=KEY) as agent:
        eventually(lambda: locks.is_held(there.llm / NAME))
        child = start(there, "ask", "teacher", "Answer slowly.", "--run", str(there.folder))
        eventually(lambda: len(there.ledger()) == 1)
        assert agents_of(there.folder) == {agent.pid}
        assert ended(child)[:2] == (0, "ok\n")
    assert [one["authorization"] for one in server.asked()] == [f"Bearer {KEY}"]


def test_when_the_runs_agent_goes_its_own_takes_over(there: Asking) -> None:
    with there.agent() as agent:
        eventually(lambda: locks.is_held(there.llm / NAME))
        child = start(there, "ask", "teacher", "Answer slowly.", "--run", str(there.folder))
        eventually(lambda: len(there.ledger()) == 1)
        agent.kill()
    assert ended(child)[:2] == (0, "ok\n")
    assert [one["event"] for one in there.ledger()] == ["reserve", "reserve", "settle"]


def test_a_run_that_is_started_meanwhile_waits_its_turn(there: Asking, server: Scripted) -> None:
    child = start(there, "ask", "teacher", "Answer slowly.", "--run", str(there.folder))
    eventually(lambda: len(there.ledger()) == 1)
    other = put(there, "Who else?")
    supervisor = start(there, "supervise", str(there.folder))
    assert ended(child)[:2] == (0, "ok\n")
    returned, out, err = ended(supervisor)
    assert returned == 0 and "done" in out, out + err
    assert there.asker().mailbox.answered(other) and len(server.asked()) == 2
    beat = json.loads((there.folder / "supervisor" / "heartbeat.json").read_text())
    assert beat["agents"]["llm"]["restarts"] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [("", "is empty"), (" \n\t", "is empty"), (os.fsdecode(b"Who \xff?"), "is no UTF-8 text")],
    ids=ascii,
)
def test_a_question_must_be_one(there: Asking, server: Scripted, words: str, why: str) -> None:
    returned, out, err = ended(start(there, "ask", "teacher", words, "--run", str(there.folder)))
    assert (returned, out) == (2, "") and err.startswith(f"bin/ask: the question {why}; ") and err.count("\n") == 1
    assert not list((there.llm / "inbox").iterdir()) and server.asked() == []


def test_a_held_run_is_not_asked_but_tells_what_it_knows(there: Asking) -> None:
    assert ended(start(there))[0] == 0
    (there.folder / "HOLD").touch()
    assert ended(start(there))[:2] == (0, "ok\n")
    returned, _, err = ended(start(there, "ask", "teacher", "Who else?", "--run", str(there.folder)))
    assert returned == 2 and "small: is held, so that nobody would answer; remove " in err
    assert not list((there.llm / "inbox").iterdir())


# -- a key that is not there ------------------------------------------------------------------------------------


def test_a_missing_key_is_told_and_nothing_falls_back(tmp_path: Path, server: Scripted) -> None:
    there = keyed(Asking(tmp_path, {"one": profile(server.url), "local": profile(server.url, price=FREE)}))
    waiting = put(there, "Who waits?")
    for name, words in {"ask": (), "supervise": (str(there.folder),), "agent": ("llm", str(there.folder))}.items():
        returned, _, err = ended(start(there, name, *words))
        assert returned == 2 and NO_KEY in err and err.count("\n") == 1, (name, err)
    look = there.asker().mailbox.listing()
    assert server.asked() == [] and look.pending == [waiting] and not look.dead
    assert ended(start(there, SOME_KEY=KEY))[:2] == (0, "ok\n")
    assert ended(start(there))[:2] == (0, "ok\n")  # what is answered needs no key


def test_a_key_file_that_others_may_read_is_told_before_a_run_begins(tmp_path: Path, there: Asking) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    keyed(there)
    infra = yaml.safe_load((there.config / "infra.yaml").read_text())
    infra["models"]["one"] = {key: value for key, value in infra["models"]["one"].items() if key != "key_env"}
    infra["models"]["one"]["key_file"] = str(path)
    (there.config / "infra.yaml").write_text(yaml.safe_dump(infra))
    returned, _, err = ended(start(there))
    assert returned == 2 and f"models: one: {path}: others may read it; chmod 600 {path}" in err and KEY not in err
    path.chmod(0o600)
    assert ended(start(there))[:2] == (0, "ok\n")


def test_a_quote_needs_no_key_and_a_pilot_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    quoting = Quoting(tmp_path, "http://127.0.0.1:9/v1")
    infra = yaml.safe_load((quoting.config / "infra.yaml").read_text())
    infra["models"]["one"]["key_env"] = "SOME_KEY"
    quoting.write("infra", infra | {"budget": {"usd": 50, "models": ["one"]}})
    assert quoting.quote().returncode == 0
    piloted = quoting.quote("--pilot")
    assert piloted.returncode == 2 and piloted.stderr.splitlines()[-1].startswith(f"bin/quote: {NO_KEY}")
    assert not quoting.run.exists()


def test_a_replayed_run_needs_no_key(there: Asking, server: Scripted) -> None:
    keyed(there)
    (there.llm / "REPLAY").write_text('{"profiles": {"teacher": [["one", "scripted"]]}, "lost": []}')
    returned, out, err = ended(start(there, "supervise", str(there.folder)))
    assert returned == 0 and "done" in out, out + err
    returned, _, err = ended(start(there))
    assert returned == 2 and "is not among the replayed calls" in err and server.asked() == []


def test_a_run_that_goes_on_or_is_done_is_shown_without_the_key(tmp_path: Path) -> None:
    flow = small.step('sleep 2; touch "$2/x.txt"')
    there = keyed(Asking(tmp_path, {"one": profile("http://127.0.0.1:9/v1")}))
    run = small.make(tmp_path / "runs", flow, name="slow")
    goal = str(run / "goal.md")
    returned, _, err = ended(start(there, "pipeline", goal))
    assert returned == 2 and err.startswith(f"bin/pipeline: {NO_KEY}") and err.count("\n") == 1
    first = start(there, "pipeline", goal, SOME_KEY=KEY)
    eventually(lambda: locks.is_held(run / "supervisor" / "guard.lock"))
    attached = start(there, "pipeline", goal)
    for child in (first, attached):
        returned, out, err = ended(child)
        assert returned == 0, out + err
    returned, out, _ = ended(start(there, "pipeline", goal))
    assert returned == 0 and "nothing to do" in out
