"""Reserved before it is sent, settled after: no budget is overspent, whoever is killed when."""

import errno
import os
import random
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.models.endpoint import Tokens
from agents.models.ledger import BudgetGone, Ledger, Limits, Taken, Tally
from agents.models.profile import Price
from tests.processes import PATIENCE_S, eventually

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


def test_input_that_is_dearer_once_it_is_kept_is_reserved_at_that(tmp_path: Path) -> None:
    books = Ledger(tmp_path, Limits({"usd": 0.002}))
    with pytest.raises(BudgetGone, match=r"may take 0.00225"):
        books.reserve("a", "x", "p", Price(1.0, 10.0, 1.25), MOST)


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


@contextmanager
def room_for(path: Path, size: int) -> Iterator[None]:
    """Until the end of the block no file of this process may grow past the size of `path` and so many bytes more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    books = Ledger(tmp_path, Limits({"usd": 0.005}))
    with room_for(books.path, 20), pytest.raises(OSError, match="cut short"):
        books.reserve("a", "x", "p", PRICE, MOST)
    made = books.reserve("b", "x", "p", PRICE, MOST)
    assert made
    with room_for(books.path, 20):
        books.settle(made, Tokens(1, 1, 0, True), 0.0001)  # the answer is there: it is not thrown away for a line
    assert books.spent().usd == pytest.approx(0.002), "what could not be settled stays reserved in full"
    made = books.reserve("c", "x", "p", PRICE, MOST)
    assert made
    books.settle(made, None, None)
    with pytest.raises(BudgetGone):  # and keeps nobody waiting for it
        books.reserve("d", "x", "p", PRICE, MOST)
    books.close()
    assert Tally(tmp_path / "ledger.jsonl").look().usd == pytest.approx(0.004)
    with pytest.raises(BudgetGone):
        Ledger(tmp_path, Limits({"usd": 0.005})).reserve("d", "x", "p", PRICE, MOST)


def test_what_is_not_on_disk_is_not_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = Ledger(tmp_path, Limits({"usd": 0.003}))

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk fails")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk fails"):
        patch.setattr(os, "fdatasync", fails)
        books.reserve("a", "x", "p", PRICE, MOST)
    assert books.reserve("b", "x", "p", PRICE, MOST) and books.spent().usd == pytest.approx(0.002)


def test_no_thread_goes_on_before_its_own_line_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread syncs while a second has written its line and a third has its number and no line yet."""
    books, write, sync = Ledger(tmp_path, Limits()), os.write, os.fdatasync
    syncs, go_on, writes, may_write = (threading.Event() for _ in range(4))
    on_disk, went_on = [b""], dict[str, bool]()

    def slow_sync(descriptor: int) -> None:
        if not syncs.is_set():
            syncs.set()
            assert go_on.wait(PATIENCE_S)
        on_disk[0] = books.path.read_bytes()
        sync(descriptor)

    def slow_write(descriptor: int, data: bytes) -> int:
        if b'"call":"third"' in data:
            writes.set()
            assert may_write.wait(PATIENCE_S)
        return write(descriptor, data)

    def reserve(call: str) -> None:
        books.reserve(call, "x", "p", PRICE, MOST)
        went_on[call] = call.encode() in on_disk[0]

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    monkeypatch.setattr(os, "write", slow_write)
    threads = {call: threading.Thread(target=reserve, args=[call]) for call in ("first", "second", "third")}
    threads["first"].start()
    assert syncs.wait(PATIENCE_S)
    threads["second"].start()
    eventually(lambda: b"second" in books.path.read_bytes())
    threads["third"].start()
    assert writes.wait(PATIENCE_S)
    go_on.set()
    eventually(lambda: "second" in went_on)
    may_write.set()
    for one in threads.values():
        one.join(PATIENCE_S)
    assert went_on == {"first": True, "second": True, "third": True}


def test_a_sync_that_fails_fails_for_all_that_it_was_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells it once: the next call would say that all is well."""
    books, sync, calls = Ledger(tmp_path, Limits()), os.fdatasync, iter(["waits", "fails"])
    syncs, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def bad_sync(descriptor: int) -> None:
        call = next(calls, "")
        if call == "waits":
            syncs.set()
            assert go_on.wait(PATIENCE_S)
        elif call == "fails":
            raise OSError(errno.EIO, "the disk fails")
        sync(descriptor)

    def reserve(call: str) -> None:
        try:
            books.reserve(call, "x", "p", PRICE, MOST)
            ended.append("reserved")
        except OSError:
            ended.append("failed")

    monkeypatch.setattr(os, "fdatasync", bad_sync)
    threads = [threading.Thread(target=reserve, args=[call]) for call in ("first", "second", "third")]
    threads[0].start()
    assert syncs.wait(PATIENCE_S)
    for one in threads[1:]:
        one.start()
    eventually(lambda: {b"second", b"third"} <= set(books.path.read_bytes().split(b'"')))
    go_on.set()
    for one in threads:
        one.join(PATIENCE_S)
    assert sorted(ended) == ["failed", "failed", "reserved"]
    reserve("fourth")
    assert ended[-1] == "reserved"
