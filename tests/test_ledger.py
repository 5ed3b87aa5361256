"""Reserved before it is sent, settled after: no budget is overspent, whoever is killed when."""

import random
import threading
from pathlib import Path

import pytest

from agents.models.endpoint import Tokens
from agents.models.ledger import BudgetGone, Ledger, Limits, Taken, Tally
from agents.models.profile import Price

PRICE = Price(input=1.0, output=10.0)
MOST = (1000, 100)  # tokens in and out: $0.002


def test_what_does_not_fit_names_its_budget(tmp_path: Path) -> None:
    limits = Limits({"usd": 0.005}, {"30-generate": {"tokens": 2000}}, {"usd": 0.003}, "raise it here")
    books = Ledger(tmp_path, limits)
    assert books.reserve("a", "30-generate", "p", PRICE, MOST)
    with pytest.raises(BudgetGone, match=r"budget: call.usd: this call may take 0.02 of 0.003; raise it here"):
        books.reserve("b", "x", "p", PRICE, (10_000, 1_000))
    stop = iter([False, True])
    assert books.reserve("b", "30-generate", "p", PRICE, MOST, lambda: next(stop)) is None  # waits for the first
    books.close()
    again = Ledger(tmp_path, limits)
    with pytest.raises(BudgetGone, match=r"budget: steps.30-generate.tokens: 1100 of 2000 is spent or reserved"):
        again.reserve("b", "30-generate", "p", PRICE, MOST)
    assert again.reserve("b", "x", "p", PRICE, MOST)
    again.close()
    with pytest.raises(BudgetGone, match=r"budget: usd: 0.004 of 0.005 .* may take 0.002; raise it here"):
        Ledger(tmp_path, limits).reserve("c", "x", "p", PRICE, MOST)


def test_a_settled_call_makes_room_for_another(tmp_path: Path) -> None:
    books = Ledger(tmp_path, Limits({"usd": 0.003}))
    for n in range(5):
        made = books.reserve(str(n), "x", "p", PRICE, MOST)
        assert made
        books.settle(made, Tokens(100, 10, 0, True), PRICE.usd(100, 10))
    assert books.spent().usd == pytest.approx(5 * 0.0002)
    made = books.reserve("lost", "x", "p", PRICE, MOST)
    assert made
    books.settle(made, None, None)  # it may be billed: all of it counts
    with pytest.raises(BudgetGone):
        books.reserve("next", "x", "p", PRICE, MOST)


def test_of_many_threads_and_kills_none_overspends(tmp_path: Path) -> None:
    limits, billed, chance = Limits({"usd": 0.1}), [0.0], random.Random(4)
    for _ in range(4):  # each ends as a killed process does: what is open is never settled
        books, gone = Ledger(tmp_path, limits), threading.Event()

        def ask(seed: int, books: Ledger = books, gone: threading.Event = gone) -> None:
            own = random.Random(seed)
            while not gone.is_set():
                try:
                    made = books.reserve("c", "x", "p", PRICE, MOST, gone.is_set)
                except BudgetGone:
                    return
                if made is None:
                    return
                cost = PRICE.usd(own.randrange(1000), own.randrange(100))
                billed.append(cost)  # the provider bills it, whatever we still hear of it
                if own.random() < 0.02:
                    gone.set()
                    return
                books.settle(made, Tokens(1, 1, 0, True), cost)

        threads = [threading.Thread(target=ask, args=(chance.random(),)) for _ in range(64)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        books.close()
    assert 0.05 < sum(billed) <= 0.1
    assert sum(billed) <= Tally(tmp_path / "ledger.jsonl").look().usd + 1e-12 <= 0.1 + 2e-12


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    books = Ledger(tmp_path, Limits())
    assert books.reserve("a", "x", "p", PRICE, MOST)
    books.close()
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'{"n":2,"event":"res')
    books = Ledger(tmp_path, Limits())
    assert books.reserve("b", "x", "p", PRICE, MOST)
    tally = Tally(path)
    assert tally.look().usd == pytest.approx(0.004) and tally.calls["x"] == 2 and tally.last == 2


def test_one_process_writes_it(tmp_path: Path) -> None:
    first = Ledger(tmp_path, Limits())
    with pytest.raises(Taken, match="another llm agent"):
        Ledger(tmp_path, Limits())
    first.close()
    Ledger(tmp_path, Limits()).close()
