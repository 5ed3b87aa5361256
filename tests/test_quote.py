"""What a run will cost: told before anything is asked, measured by a pilot, and held against what the run then paid."""

import shutil
from math import ceil, inf
from pathlib import Path

import pytest

from agents.models.ledger import NAME, Tally
from agents.quoting.curve import Curve, Growth, Seen, Yield, how_far, told
from agents.quoting.rates import prior
from agents.quoting.waves import evenly
from tests import modelled, tiny
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
    assert abs(usd["expected"] / true - 1) <= WITHIN and usd["low"] < true < usd["high"], (usd, true)
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


def test_a_run_without_a_pilot_asks_the_same_calls_but_for_a_few_judgements(piloted):
    """A pilot cannot know that a chunk it left out asks first what a pair of its own asks."""
    there = piloted["there"]
    there.pipeline(there.folder / "alone")
    alone = {path.stem for path in (there.folder / "alone/quoted/llm/outbox").iterdir()}
    more = {call: one for call, one in modelled.replies(there.run).items() if call not in alone}
    assert alone <= modelled.replies(there.run).keys() and len(more) <= 0.03 * len(piloted["calls"]), len(more)
    assert more.keys() <= piloted["calls"] and {one["call"]["role"] for one in more.values()} <= {"judge"}


def test_the_same_pilot_again_costs_nothing_and_says_the_same(piloted):
    paid, asked = piloted["there"].spent(), len(piloted["server"].asked())
    again = piloted["there"].told("--pilot")
    assert again["total"]["usd"] == piloted["after"]["total"]["usd"]
    assert piloted["there"].spent() == paid and len(piloted["server"].asked()) == asked
    first, second = piloted["after"]["pilot"], again["pilot"]
    assert (first["reused"], first["paid_now"]) == (0, first["usd"])
    assert (second["reused"], second["paid_now"], second["usd"]) == (second["calls"], 0, first["usd"])
    said = piloted["there"].quote("--pilot").stdout
    assert f"{second['calls']} of them were there already and are not paid again; paid now: $0.0000." in said


def test_a_run_that_replays_another_is_asked_nothing(piloted, tmp_path):
    there, asked = piloted["there"], len(piloted["server"].asked())
    run = shutil.copytree(there.run, tmp_path / "runs" / "quoted")
    (run / "llm" / "REPLAY").write_text('{"profiles": {}, "lost": []}')
    ended = there.quote("--pilot", "--runs", str(run.parent))
    assert ended.returncode == 0 and "replays another run's calls: nothing will be asked, $0.00" in ended.stdout
    assert len(piloted["server"].asked()) == asked


def test_the_quote_holds_for_a_whole_run_the_judge_of_its_evaluation_included(tmp_path):
    with Scripted(tmp_path / "server", modelled.ANSWERS) as server:
        config, goal = (
            modelled.write_config(tmp_path, server.url),
            tiny.write_goal(tmp_path, "quoted", tiny.GOAL.replace("seed: 11", "seed: 4")),
        )
        there = Quoting(tmp_path / "there", server.url)
        shutil.copytree(config, there.config, dirs_exist_ok=True)
        there.goal.write_text(goal.read_text())
        before, after = there.told(), there.told("--pilot")
        assert tiny.run(goal, there.run.parent, config).returncode == 0
    spent = Tally(there.run / "llm" / NAME).look()
    for quote in (before, after):
        usd, found = quote["total"]["usd"], tokens(quote["total"])
        assert usd["low"] < spent.usd < usd["high"] and found["low"] < spent.tokens < found["high"]
    assert abs(after["total"]["usd"]["expected"] / spent.usd - 1) <= WITHIN, (after["total"]["usd"], spent)
    assert abs(tokens(after["total"])["expected"] / spent.tokens - 1) <= WITHIN, (after["total"], spent)
    compared = [one for one in modelled.replies(there.run).values() if one["call"]["step"] == "60-evaluate"]
    (quoted,) = (one["calls"] for one in after["kinds"] if one["step"] == "60-evaluate")
    beside = after["pilot"]["beside"]
    assert beside == 16 < len(compared) and abs(quoted["expected"] - len(compared)) <= 0.3 * len(compared), quoted


def tokens(row):
    """All tokens that budgets count of a row, by end."""
    return {end: sum(row[name][end] for name in ("input", "output", "held")) for end in ("low", "expected", "high")}


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


def test_how_counts_grow():
    assert Growth(0.5, 100, 1.0).at(400) == 200 and Growth(0.5, 100, 0.5).at(400) == pytest.approx(100)
    endless, ending = Yield(Growth(8.0), inf), Yield(Growth(8.0), 8.0)
    assert endless.at(120, 10) == 3 * endless.at(40, 10) == 240
    assert ending.at(40, 10) == 80 and 80 < ending.at(80, 10) < ending.at(10**6, 10) < 8 * 10 / told(4, 8.0) + 0.01
    assert how_far(told(4, 8.0) / told(1, 8.0)) == pytest.approx(8.0, rel=1e-3) and how_far(4.0) == inf
    poor_first = Curve(endless, ["poor", "rich"], {"poor": 0.0, "rich": 2.0})
    assert [poor_first.at(n) for n in (4, 6, 8)] == [0, 8, 16]
    seen = Curve(endless, ["poor", "rich"], {"poor": 0.0, "rich": 2.0}, Seen(4, 5))
    assert [seen.at(n) for n in (4, 8)] == [5, 21] and seen.prompts(5, 8) == 4 < seen.prompts(15, 8)
    assert evenly(list(range(9)), 3, 1, "x") in ([0, 3, 6], [1, 4, 7], [2, 5, 8]) and evenly([1], 3, 1, "x") == [1]
    rates = [prior(place) for place in (0, 1, 2)]
    assert [one.new.at(4, 1) for one in rates] == [18.0, 12.8, 4.0]
