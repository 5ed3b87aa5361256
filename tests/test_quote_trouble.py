"""A pilot that others answer, that nobody answers, that a budget ends, and what is told of each."""

import json
from pathlib import Path

import pytest
import yaml

from agents.quoting.silence import SILENT_S, Silence, Silent
from bus import files
from tests.asking import profile
from tests.quoting import DEFAULT, PRICE, RULES, Quoting
from tests.scripted.fixture import Scripted
from tests.test_quote import KINDS


def test_a_pilot_that_its_budget_ends_says_so(tmp_path):
    with Scripted(tmp_path / "server", default=DEFAULT, rules=RULES) as server:
        there = Quoting(tmp_path / "there", server.url, usd=0.05)
        ended = there.quote("--pilot", "--json")
        assert ended.returncode == 100 and "ended early: budget: usd" in ended.stderr, ended.stderr
        assert there.spent() <= 0.05 and json.loads(ended.stdout)["pilot"]["stopped"]


def with_fallback(there, first, other, price):
    """Every role prefers a profile at `first`, and falls back to a dearer or a cheaper one at `other`."""
    models = {"one": profile(first, price=PRICE), "other": profile(other, price=price)}
    there.write("infra", {"models": models, "budget": {"usd": 50}})
    swarm = yaml.safe_load((there.config / "swarm.yaml").read_text())
    roles = {name: {**role, "fallback": ["other"]} for name, role in swarm["roles"].items()}
    there.write("swarm", {**swarm, "roles": roles})


def test_what_a_fallback_answers_stands_at_the_price_of_the_fallback(tmp_path):
    free = {"input": 0, "output": 0}
    with (
        Scripted(tmp_path / "first", default={"status": 404}) as first,
        Scripted(tmp_path / "other", default=DEFAULT, rules=RULES) as other,
    ):
        there = Quoting(tmp_path / "there", first.url, examples=400)
        with_fallback(there, first.url, other.url, free)
        told = there.told("--pilot")
        total, usd = told["total"], told["total"]["usd"]
        assert usd["expected"] == there.spent() == 0 < usd["high"] and total["input"]["expected"] > 100_000
        assert all(one["answered"] == {"other": n} for one in told["roles"] if (n := sum(one["answered"].values())))
        listed = sum(total[name]["expected"] * PRICE[name] for name in PRICE) / 1e6
        share = told["pilot"]["usd_if_they_answer"] / listed  # less what the fallback has answered for good
        assert 0.5 < share < 0.9 and "404" in told["pilot"]["passed_over"]["one"]
        said = there.quote("--pilot").stdout
        assert "of the pilot it answered 0, other" in said and "one did not answer all that it was asked" in said
        with_fallback(there, first.url, other.url, {"input": 2, "output": 8})
        dear = there.told("--pilot")["total"]  # the same answers, at what they cost from now on
    paid = sum(dear[name]["expected"] * 2 * PRICE[name] for name in PRICE) / 1e6
    assert dear["usd"]["expected"] == pytest.approx(paid, rel=1e-3)


def test_a_pilot_that_nobody_answers_fails_and_tells_no_figures(tmp_path):
    with Scripted(tmp_path / "server", default={"status": 401, "error": {"message": "no such key"}}) as server:
        there = Quoting(tmp_path / "there", server.url)
        ended = there.quote("--pilot")
        asked = len(server.asked())
    assert ended.returncode == 100 and ended.stdout == "" and asked == 1
    line = ended.stderr.splitlines()[-1]
    assert "nobody answered the pilot" in line and "no such key" in line and "give the same command again" in line


def test_a_role_that_answers_nothing_is_asked_three_times_and_named(tmp_path):
    deaf = {"when": {"words": "rubric"}, "status": 404}
    with Scripted(tmp_path / "server", default=DEFAULT, rules=[deaf, *RULES]) as server:
        ended = Quoting(tmp_path / "there", server.url, examples=400).quote("--pilot", "--json")
    pilot = json.loads(ended.stdout)["pilot"]
    assert ended.returncode == 100 and "judge: 3 of 3 questions were not answered" in ended.stderr, ended.stderr
    assert pilot["unanswered"] == 3 and pilot["kinds"].keys() == KINDS - {"is a pair right"}


def test_silence_is_failed_attempts_alone_for_a_minute(tmp_path):
    now, lines, path = 0.0, [], tmp_path / "ledger.jsonl"

    def attempt(number: int, how: str | None) -> None:
        row = {"n": number, "call": "a", "usd": 0.0, "tokens": 0, "profile": "one"}
        lines.extend([{**row, "event": "reserve"}, *([{**row, "event": "settle", "how": how}] if how else [])])
        path.write_bytes(b"".join(map(files.canonical, lines)))

    attempt(0, "timeout")  # of an earlier command
    silence = Silence(path, {}, lambda: now)
    now += 2 * SILENT_S
    silence.check()  # nothing was tried yet
    attempt(1, None)
    now += 2 * SILENT_S
    silence.check()  # a slow answer is on its way
    lines.pop()
    attempt(1, "connection")
    silence.check()
    now += SILENT_S - 1
    silence.check()
    now += 2
    with pytest.raises(Silent, match=r"one .*: 1 attempts in a row failed"):
        silence.check()
    attempt(2, "busy")
    silence.check()
    now += 2 * SILENT_S
    silence.check()


def test_a_run_that_is_held_is_not_piloted(tmp_path: Path):
    there = Quoting(tmp_path, "http://127.0.0.1:9/v1", usd=0.000001)
    assert there.quote("--pilot").returncode == 100  # not one call fits; the run is made
    (there.run / "HOLD").touch()
    ended = there.quote("--pilot")
    assert ended.returncode == 2 and "is held" in ended.stderr
