"""What a run will cost: told before anything is asked, measured by a pilot, and held against what the run then paid."""

import json
from math import ceil, inf
from pathlib import Path

import pytest

from agents.quoting.rates import Growth, Yield, prior
from tests.quoting import DEFAULT, PRICE, RULES, STEPS, Quoting
from tests.scripted.fixture import Scripted

WITHIN = 0.15  # what a pilot promises
KINDS = {"a map of the domain", "a topic", "error scenarios", "pairs about a chunk", "is a pair right"}


@pytest.fixture(scope="module")
def piloted(tmp_path_factory):
    """(the quote before, the one after a pilot, the pilot's calls, the run finished, all requests of the server)."""
    folder = tmp_path_factory.mktemp("piloted")
    with Scripted(folder / "server", default=DEFAULT, rules=RULES) as server:
        there = Quoting(folder / "there", server.url, examples=1000, seed=1)
        before = there.told()
        nothing_yet = not there.run.exists() and server.asked() == []
        after = there.told("--pilot")
        calls, paid = {path.stem for path in (there.run / "llm/outbox").iterdir()}, there.spent()
        waiting = not list((there.run / "10-research/inbox").iterdir())
        there.pipeline()
        told = {"before": before, "after": after, "calls": calls, "paid": paid, "asked": server.asked()}
        yield told | {"there": there, "untouched": nothing_yet, "not started": waiting, "server": server}


def test_the_quote_asks_nobody_and_makes_nothing(piloted):
    assert piloted["untouched"]


def test_the_pilot_brings_the_quote_within_15_percent_of_what_the_run_pays(piloted):
    usd, true = piloted["after"]["total"]["usd"], piloted["there"].spent()
    assert abs(usd["expected"] / true - 1) <= WITHIN, (usd, true)
    before = piloted["before"]["total"]["usd"]
    assert before["low"] < true < before["high"] and usd["high"] - usd["low"] < before["high"] - before["low"]


def test_the_pilot_asks_enough_of_every_kind_and_does_not_start_the_run(piloted):
    pilot = piloted["after"]["pilot"]
    assert pilot["kinds"].keys() == KINDS and pilot["calls"] == sum(pilot["kinds"].values())
    expected = piloted["before"]["total"]["calls"]["expected"]
    assert len(piloted["calls"]) == max(170, ceil(0.02 * expected)) == pilot["calls"]
    assert piloted["paid"] == pytest.approx(pilot["usd"], abs=1e-5) and piloted["not started"]


def test_the_run_pays_for_none_of_the_pilots_calls_again(piloted):
    files = {path.stem for path in (piloted["there"].run / "llm/outbox").iterdir()}
    assert piloted["calls"] < files and len(piloted["asked"]) == len(files)


def test_a_run_without_a_pilot_asks_the_same_calls(piloted):
    there = piloted["there"]
    there.pipeline(there.folder / "alone")
    alone = {path.stem for path in (there.folder / "alone/quoted/llm/outbox").iterdir()}
    assert alone == {path.stem for path in (there.run / "llm/outbox").iterdir()} and piloted["calls"] <= alone


def test_the_same_pilot_again_costs_nothing_and_says_the_same(piloted):
    paid, asked = piloted["there"].spent(), len(piloted["server"].asked())
    again = piloted["there"].told("--pilot")
    assert again["total"]["usd"] == piloted["after"]["total"]["usd"]
    assert piloted["there"].spent() == paid and len(piloted["server"].asked()) == asked


def test_with_no_model_nothing_is_asked_and_it_costs_nothing(tmp_path):
    there = Quoting(tmp_path, None)
    ended = there.quote("--pilot")
    assert ended.returncode == 0 and "nothing will be asked, $0.00" in ended.stdout, ended.stderr
    told = there.told()
    assert told["kinds"] == [] and told["total"]["usd"] == {"low": 0, "expected": 0, "high": 0}
    assert not there.run.exists()


def test_dollars_of_an_unknown_price_are_null_and_the_rest_is_told(tmp_path):
    there = Quoting(tmp_path, "http://127.0.0.1:9/v1", price=None)
    told = there.told()
    assert told["total"]["usd"] is None and told["total"]["input"]["expected"] > 100_000
    assert all(one["price"] is None and one["price_from"] is None for one in told["roles"])
    assert any("usd 50: nobody knows" in line for line in told["budgets"])
    assert any("will be refused" in line for line in told["budgets"])
    assert "price unknown" in there.quote().stdout


def test_budgets_are_told_to_fit_or_where_they_would_be_reached(tmp_path):
    steps = {"30-generate": {"tokens": 1000}, "10-research": {"usd": 9}}
    there = Quoting(tmp_path, "http://127.0.0.1:9/v1", usd=1.2, tokens=10**8, steps=steps, call={"tokens": 3000})
    told = there.told()
    low, high = (told["total"]["usd"][end] for end in ("low", "high"))
    assert low < 1.2 < high
    said = {line.split(" ")[1]: line for line in told["budgets"]}
    assert said["usd"].endswith("would be reached in 30-generate"), said
    assert said["tokens"].endswith("fits") and said["steps.10-research.usd"].endswith("fits")
    assert said["steps.30-generate.tokens"].endswith("would be reached in 30-generate")
    assert "is more: such calls will not be made" in said["call.tokens"]
    assert (
        told["roles"][0]["price"] == {**PRICE, "cached": None} and told["roles"][0]["price_from"] == "config/infra.yaml"
    )
    assert [one["step"] for one in told["steps"]] == list(STEPS)


def test_only_the_roles_that_have_a_model_are_asked(tmp_path):
    there = Quoting(tmp_path, "http://127.0.0.1:9/v1", roles=("teacher",))
    assert [one["kind"] for one in there.told()["kinds"]] == ["pairs about a chunk"]


def test_a_pilot_that_its_budget_ends_says_so(tmp_path):
    with Scripted(tmp_path / "server", default=DEFAULT, rules=RULES) as server:
        there = Quoting(tmp_path / "there", server.url, usd=0.05)
        ended = there.quote("--pilot", "--json")
        assert ended.returncode == 100 and "ended early: budget: usd" in ended.stderr, ended.stderr
        assert there.spent() <= 0.05 and json.loads(ended.stdout)["pilot"]["stopped"]


def test_a_goal_that_cannot_be_read_is_told_in_one_line(tmp_path):
    there = Quoting(tmp_path, None)
    there.goal.write_text(there.goal.read_text().replace("pydoc:shutil", "pydoc:no_such_module"))
    ended = there.quote()
    assert ended.returncode == 2 and "no_such_module" in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_the_price_of_the_dated_table_is_told_with_its_date(tmp_path: Path):
    there = Quoting(tmp_path, "https://openrouter.ai/api/v1")
    document = {"models": {"one": {"endpoint": "https://openrouter.ai/api/v1", "model": "qwen/qwen3-8b"}}}
    there.write("infra", document)
    assert all("prices.json of 20" in one["price_from"] and one["price"] for one in there.told()["roles"])


def test_a_run_that_is_held_is_not_piloted(tmp_path: Path):
    there = Quoting(tmp_path, "http://127.0.0.1:9/v1", usd=0.000001)
    assert there.quote("--pilot").returncode == 100  # not one call fits; the run is made
    (there.run / "HOLD").touch()
    ended = there.quote("--pilot")
    assert ended.returncode == 2 and "is held" in ended.stderr


def test_how_counts_grow():
    assert Growth(0.5, 100, 1.0).at(400) == 200 and Growth(0.5, 100, 0.5).at(400) == pytest.approx(100)
    endless, half = Yield(Growth(8.0), inf), Yield(Growth(8.0), 4.0)
    assert endless.at(120, 10) == 3 * endless.at(40, 10) == 240
    assert half.at(40, 10) == 80 and 80 < half.at(80, 10) < half.at(10**6, 10) < 160.01
    rates = [prior(place) for place in (0, 1, 2)]
    assert [one.new.at(4, 1) for one in rates] == [18.0, 12.8, 6.0]
