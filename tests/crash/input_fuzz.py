"""Arbitrary bytes, documents and names wherever the bus reads: a good result or one of its own errors, nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from agents._run import create_run, tidy
from bus import files, schema, tries
from bus.claim import SETTLE_S
from bus.mailbox import Conflict, Mailbox, check_id
from bus.run import Run, RunError
from tests.crash.canary import FACTS
from tests.crash.child import in_child
from tests.crash.input_catalogue import STEP, request
from tests.crash.input_fuzz_data import bytes_like, names
from tests.crash.input_places_run import FLOW
from tests.crash.ram import in_memory
from tests.crash.row import Row

QUICK, FULL = 10, 300  # examples for each reader
PATIENCE_S = 600
REFUSED = (files.BadFile, schema.Invalid, RunError, Conflict)
REPLY = {
    "schema": "reply.v1",
    "id": "r1",
    "step": STEP,
    "request_sha256": files.sha256(files.canonical(request("r1"))),
    "request": request("r1"),
    "artifacts": {"a.txt": {"sha256": "0" * 64, "bytes": 1}},
    "tries": [],
    **FACTS,
}
CRASH = {"schema": "error.v1", "kind": "error", "message": "a bad day", "where": STEP, "wait_s": 0.0, "seconds": 1.0}

Example = Callable[[Path, bytes], str | None]


@contextlib.contextmanager
def mailbox(folder: Path, kind: str) -> Iterator[Mailbox]:
    """A mailbox of one example, removed after it."""
    path = folder / (STEP if kind == "step" else "echo")
    options: dict[str, Any] = {} if kind == "step" else {"folders": False, "request": None, "reply": None}
    box = Mailbox(path, durable=False, **options)
    try:
        yield box
    finally:
        box.close()
        shutil.rmtree(path)


def ask_all(box: Mailbox, id: str) -> None:
    """Every question to a mailbox; each may be refused, in the bus's own words."""
    calls: list[Callable[[], object]] = [lambda: box.put(id, request(id)), lambda: box.withdraw(id)]
    calls += [partial(call, id) for call in (box.state, box.reply, box.answered_hash)]
    calls.append(lambda: tries.history(box.work(id)))
    for call in [*calls, box.listing, partial(tidy, box)]:
        with contextlib.suppress(*REFUSED):
            call()


def drain(box: Mailbox) -> None:
    for claim in box.claims():
        if box.folders:
            claim.begin()
            claim.fail({"kind": "error", "message": "a bad day", "where": STEP})
        else:
            claim.fail({"kind": "error", "message": "a bad day", "where": "echo"})


def a_request(kind: str, folder: Path, data: bytes) -> str | None:
    """Returns what became of it; "torn" where it does not parse, and may still be in the writing."""
    with mailbox(folder, kind) as box:
        (box.folder / "inbox" / "r1.json").write_bytes(data)
        drain(box)
        torn = box.state("r1") == "waiting"
        ask_all(box, "r1")
        return "torn" if torn else None


def a_reply(kind: str, folder: Path, data: bytes) -> None:
    with mailbox(folder, kind) as box:
        path = box.folder / "outbox" / ("r1/reply.json" if kind == "step" else "r1.json")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        ask_all(box, "r1")
        (box.folder / "inbox" / "r1.json").write_bytes(files.canonical(request("r1")))
        drain(box)


def a_letter(kind: str, folder: Path, data: bytes) -> None:
    with mailbox(folder, kind) as box:
        box.put("r1", request("r1"))
        (box.folder / "dead" / "r1.json").write_bytes(data)
        ask_all(box, "r1")
        box.revive("r1")
        drain(box)


def a_try(name: str) -> Callable[[str, Path, bytes], None]:
    def example(kind: str, folder: Path, data: bytes) -> None:
        with mailbox(folder, kind) as box:
            box.put("r1", request("r1"))
            for n in (1, 2):
                (box.work("r1") / f"try-{n}").mkdir(parents=True)
                (box.work("r1") / f"try-{n}" / name).write_bytes(data)
            ask_all(box, "r1")
            box.put("r1", request("r1"))
            for claim in box.claims():
                claim.give_up("test", "a test")
            box.bury("r1", "test", "a test")
            box.revive("r1")
            for claim in box.claims():
                if kind == "step":
                    claim.begin()
                    claim.commit_folder(FACTS)
                else:
                    claim.commit_file({})

    return example


def a_name(kind: str, folder: Path, data: bytes) -> None:
    """A file of any name in inbox/, outbox/, dead/ and work/ID/."""
    with mailbox(folder, kind) as box:
        name = data.replace(b"/", b"").replace(b"\0", b"")[:255]
        box.put("r1", request("r1"))
        box.work("r1").mkdir()
        if name not in (b"", b".", b".."):
            for place in ("inbox", "outbox", "dead", "work/r1"):
                with contextlib.suppress(IsADirectoryError), open(os.fsencode(box.folder / place) + b"/" + name, "w"):
                    pass
        ask_all(box, "r1")
        drain(box)
        text = data.decode("utf-8", "surrogateescape")
        for check in (check_id, files.inside):
            with contextlib.suppress(files.BadFile):
                check(text)


def a_run(name: str, folder: Path, data: bytes) -> None:
    """run.json, ROUNDS or the reply of a step, in a run that is then looked at and advanced."""
    path = folder / "run"
    shutil.copytree(folder / "whole" / "x", path)
    try:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(data)
        run = Run(path)
        for call in (lambda: run.rounds, run.listings, run.done, run.advance, lambda: run.reply(STEP, 1), run.advance):
            with contextlib.suppress(*REFUSED):
                call()
        run.close()
    except REFUSED:
        pass
    finally:
        shutil.rmtree(path)


def settle(folder: Path, texts: list[bytes]) -> dict[str, Any]:
    """What did not parse, all in one inbox: each is dead once it has not changed for a while, with a good letter."""
    box, broken = Mailbox(folder / "echo", folders=False, request=None, reply=None, durable=False), []
    for n, data in enumerate(texts):
        (box.folder / "inbox" / f"x{n}.json").write_bytes(data)
    drain(box)
    time.sleep(SETTLE_S)
    drain(box)
    for n, data in enumerate(texts):
        if not box.is_dead(f"x{n}"):
            broken.append(f"the request {data!r} is {box.state(f'x{n}')} after {SETTLE_S} s")
        else:
            schema.check(files.read_json(box.folder / "dead" / f"x{n}.json"), "dead.v1")
    return {"broken": "; ".join(broken)}


def fuzz(folder: Path, data: st.SearchStrategy[bytes], example: Example, seed: int, quick: bool) -> dict[str, Any]:
    """Try examples; the smallest that breaks it is in the exception that hypothesis raises."""
    count, torn = 0, set()

    @hypothesis.given(data)
    def test(data: bytes) -> None:
        nonlocal count
        count += 1
        if example(folder, data) == "torn":
            torn.add(data.hex())

    limits = hypothesis.settings(
        max_examples=QUICK if quick else FULL,
        deadline=None,
        database=None,
        derandomize=quick,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    test = limits(test)
    (test if quick else hypothesis.seed(seed)(test))()
    return {"broken": "", "count": count, "torn": sorted(torn)}


def readers(folder: Path) -> dict[str, tuple[st.SearchStrategy[bytes], Example]]:
    """What is read -> (what may be there, the example)."""
    found: dict[str, tuple[st.SearchStrategy[bytes], Example]] = {}
    for kind in ("step", "service"):
        for what, data, example in (
            ("a request", bytes_like(request("r1")), a_request),
            ("a reply", bytes_like(REPLY), a_reply),
            ("a dead letter", bytes_like(CRASH), a_letter),
            ("crash.json", bytes_like(CRASH), a_try("crash.json")),
            ("before.json", bytes_like(["part-1", "part-2"]), a_try("before.json")),
            ("a name", names(), a_name),
        ):
            found[f"{what} of a {kind}"] = data, partial(example, kind)
    whole = create_run(folder / "whole" / "x", "a goal\n", 1, FLOW, {"echo": {"agent": "echo"}}, "2")
    for name, data in (
        ("run.json", bytes_like(whole.document)),
        ("ROUNDS", names()),
        (f"{STEP}/outbox/r1/reply.json", bytes_like(REPLY)),
    ):
        found[f"{name} of a run"] = data, partial(a_run, name)
    return found


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    with in_memory(folder) as place:
        yield fuzzed(place, seed, quick)


def fuzzed(folder: Path, seed: int, quick: bool) -> Row:
    broken, torn, count, all_readers = [], [], 0, readers(folder)
    fuzz(folder, st.binary(), lambda folder, data: None, seed, quick)  # what hypothesis sets up, its forks then have
    for what, (data, example) in all_readers.items():
        result = in_child(partial(fuzz, folder, data, example, seed, quick), PATIENCE_S)
        broken += [f"{what}: {result['broken']}"] if result["broken"] else []
        count += result.get("count", 0)
        torn += result.get("torn", [])
    result = in_child(partial(settle, folder / "torn", [bytes.fromhex(one) for one in torn]), PATIENCE_S)
    broken += [result["broken"]] if result["broken"] else []
    return Row(
        "whatever bytes, documents and names the bus reads, it finds a good result or refuses it in its own words",
        f"{count:,} examples of hypothesis: {', '.join(all_readers)}; the {len(torn)} requests among them that are not "
        "JSON, once more until they are dead",
        "; ".join(broken),
    )
