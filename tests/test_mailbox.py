"""The protocol of one mailbox: put, claim, commit, fail, give up, and what every state looks like."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agents._run import sweep_folder, tidy
from bus import files, locks, schema, tries
from bus.claim import SETTLE_S, Claim
from bus.files import BadFile
from bus.mailbox import Conflict, Mailbox
from tests.processes import environment, eventually, run, start

FACTS = {"read": {}, "seconds": 1.5, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.5}
ERROR = {"kind": "error", "message": "ValueError: no", "where": "10-first"}


def finish(box: Mailbox, id: str, text: str = "answer\n") -> bool:
    """Work on one request of a step to its reply."""
    claim = box.claim(id)
    assert claim is not None
    (claim.begin() / "out" / "answer.txt").write_text(text)
    return claim.commit_folder(FACTS)


def letter(box: Mailbox, id: str) -> dict:
    return schema.check(json.loads((box.folder / "dead" / f"{id}.json").read_bytes()), "dead.v1")


def settled(box: Mailbox, id: str) -> None:
    """Look at an unparsable request until it has been unchanged for long enough."""
    eventually(lambda: box.claim(id) or box.is_dead(id), "given up")


# -- put ----------------------------------------------------------------------------------------------------


def test_put_is_idempotent_while_waiting_and_after_the_reply(step_box: Mailbox, ask) -> None:
    assert [step_box.put("r1", ask()) for _ in range(3)] == [True, False, False]
    assert finish(step_box, "r1")
    assert step_box.put("r1", ask()) is False
    assert os.listdir(step_box.folder / "inbox") == []


def test_put_of_other_content_is_a_conflict_that_names_both(service_box: Mailbox) -> None:
    service_box.put("q", {"ask": 1})
    with pytest.raises(Conflict, match=r"q: a request for other content is there \(sha256 \w+, not \w+\); give"):
        service_box.put("q", {"ask": 2})
    claim = service_box.claim("q")
    assert claim is not None
    claim.commit_file({"answer": 1})
    assert service_box.put("q", {"ask": 1}) is False
    with pytest.raises(Conflict, match="q: a reply for other content"):
        service_box.put("q", {"ask": 2})


def test_put_by_hand_in_another_layout_is_the_same_request(step_box: Mailbox, ask) -> None:
    (step_box.folder / "inbox/r1.json").write_bytes(files.pretty(ask()))
    assert step_box.put("r1", ask()) is False
    assert finish(step_box, "r1")
    assert step_box.put("r1", ask()) is False


@pytest.mark.parametrize("id", ["", "R1", "../r1", "-a", "a.b", "a\n", "a" * 101, "é"])
def test_put_refuses_what_is_no_id(service_box: Mailbox, id: str) -> None:
    for call in (lambda: service_box.put(id, {}), lambda: service_box.reply(id), lambda: service_box.state(id)):
        with pytest.raises(BadFile, match="not an ID"):
            call()
    assert os.listdir(service_box.folder / "inbox") == []


def test_put_refuses_what_breaks_the_schema(step_box: Mailbox, ask) -> None:
    with pytest.raises(schema.Invalid, match="round"):
        step_box.put("r1", {**ask(), "round": "one"})
    with pytest.raises(schema.Invalid):
        step_box.put("r1", {**ask(), "id": "\udc80"})
    assert os.listdir(step_box.folder / "inbox") == []


def test_what_the_claim_would_refuse_is_not_asked(step_box: Mailbox, service_box: Mailbox, ask) -> None:
    wrong: list[tuple[Mailbox, str, Any, str]] = [
        (service_box, "q", {"id": "p"}, "its id is 'p', not 'q'"),
        (service_box, "q", [1], "is not a JSON object"),
        (step_box, "r1", ask(2), "its id is 'r2', not 'r1'"),
        (step_box, "r1", ask(1, "20-other"), "its step is '20-other', not '10-first'"),
    ]
    for box, id, document, why in wrong:
        with pytest.raises(schema.Invalid, match=why):
            box.put(id, document)
        with pytest.raises(schema.Invalid, match=why):
            box.put_many([("r7", ask(7, box.name)), (id, document)])
        assert os.listdir(box.folder / "inbox") == []
    assert service_box.put("q", {"id": "q", "step": "20-other"})  # whose step asks is a service's own affair


def test_many_are_asked_in_batches_and_each_once(service_box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH", 2)
    service_box.put("q1", {"n": 1})
    service_box.put("q4", {"n": 4})
    claim = service_box.claim("q4")
    assert claim is not None and claim.commit_file({})
    every = [(f"q{n}", {"n": n}) for n in range(7)]
    assert service_box.put_many(every) == 5
    assert service_box.put_many(every) == 0
    assert sorted(service_box.listing().requests) == ["q0", "q1", "q2", "q3", "q5", "q6"]
    with pytest.raises(Conflict, match="q6: a request"):
        service_box.put_many([*every[:-1], ("q6", {"n": 60})])
    with pytest.raises(Conflict, match="q4: a reply"):
        service_box.put_many([("q4", {"n": 40})])


@pytest.mark.parametrize("how", ["answered", "taken back"])
def test_a_request_that_goes_while_it_is_asked_again_is_looked_at_again(
    service_box: Mailbox, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    service_box.put("q", {"ask": 1})

    def meanwhile(*which: Any, **more: Any) -> None:
        monkeypatch.undo()
        try:
            link(*which, **more)
        finally:
            if how == "answered":
                claim = service_box.claim("q")
                assert claim is not None and claim.commit_file({})
            else:
                service_box.withdraw("q")

    monkeypatch.setattr(os, "link", meanwhile)
    if how == "answered":
        with pytest.raises(Conflict, match="q: a reply for other content"):
            service_box.put("q", {"ask": 2})
    else:
        assert service_box.put("q", {"ask": 2}) is True and service_box.put("q", {"ask": 2}) is False


# -- claim --------------------------------------------------------------------------------------------------


def test_one_claim_at_a_time_and_release_gives_it_back(service_box: Mailbox) -> None:
    service_box.put("q", {"ask": 1})
    claim = service_box.claim("q")
    assert claim is not None and claim.request == {"ask": 1}
    assert service_box.claim("q") is None
    assert service_box.state("q") == "running"
    claim.release()
    claim.release()
    again = service_box.claim("q")
    assert again is not None
    again.release()


def test_claims_come_in_the_order_of_rounds(service_box: Mailbox) -> None:
    for id in ("r10", "r2", "r1", "b", "a"):
        service_box.put(id, {})
    claims = list(service_box.claims())
    assert [claim.id for claim in claims] == ["a", "b", "r1", "r2", "r10"]
    for claim in claims:
        claim.release()


def test_a_fork_does_not_hold_the_claim(service_box: Mailbox) -> None:
    code = """
import os, sys, time
from pathlib import Path
from bus.mailbox import Mailbox
box = Mailbox(Path(sys.argv[1]), folders=False, request=None, reply=None)
claim = box.claim("q")
if os.fork() == 0:
    os.close(1), os.close(2)
    time.sleep(600)
    os._exit(0)
claim.release()
for _ in range(1000):  # until the child has run its first instructions
    if box.state("q") == "running":
        time.sleep(0.01)
print(box.state("q"), flush=True)
time.sleep(600)
"""
    service_box.put("q", {})
    holder = start("-c", code, str(service_box.folder), start_new_session=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "waiting\n"
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.communicate()


def test_a_claim_passes_to_a_child_that_is_given_it_and_ends_with_it(service_box: Mailbox) -> None:
    service_box.put("q", {})
    claim = service_box.claim("q")
    assert claim is not None
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[claim.descriptor])
    claim.close()  # what the kernel does when the agent dies
    assert service_box.state("q") == "running" and service_box.claim("q") is None
    child.communicate()
    assert service_box.claim("q") is not None


def test_hold_keeps_all_from_being_claimed(service_box: Mailbox) -> None:
    service_box.put("q", {})
    assert service_box.hold is not None
    service_box.hold.touch()
    assert service_box.claim("q") is None and service_box.state("q") == "held"
    service_box.hold.unlink()
    assert service_box.claim("q") is not None


def test_a_request_that_was_replaced_while_it_was_opened_is_not_claimed(service_box: Mailbox) -> None:
    service_box.put("q", {"ask": 1})
    stale = Claim(service_box, "q", os.open("q.json", os.O_RDWR, dir_fd=service_box.inbox_fd))
    os.unlink(service_box.folder / "inbox/q.json")
    assert not stale.take()
    service_box.put("q", {"ask": 2})
    assert not stale.take()
    stale.close()
    again = service_box.claim("q")
    assert again is not None and again.request == {"ask": 2}
    again.release()


# -- what lies in an inbox ----------------------------------------------------------------------------------


def test_a_slow_cp_is_not_dead_until_it_stops_changing(service_box: Mailbox) -> None:
    path = service_box.folder / "inbox/q.json"
    data = json.dumps({"text": "x" * 100}).encode()
    began, claim = time.monotonic(), None
    with open(path, "wb", buffering=0) as slow:
        for at in range(len(data)):
            slow.write(data[at : at + 1])
            if at % 10 == 0:
                assert service_box.claim("q") is None and not service_box.is_dead("q")
                time.sleep(SETTLE_S / 8)
    assert time.monotonic() - began > SETTLE_S  # longer than an unchanging one would have been given
    claim = service_box.claim("q")
    assert claim is not None and claim.request == {"text": "x" * 100}


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": NaN}', b"\xff\xfe", b"[" * 5000, b'{"a":1}{', b"x" * 100])
def test_what_stays_unparsable_is_dead_with_a_reason(service_box: Mailbox, data: bytes) -> None:
    (service_box.folder / "inbox/q.json").write_bytes(data)
    assert service_box.claim("q") is None and not service_box.is_dead("q")
    settled(service_box, "q")
    assert letter(service_box, "q")["message"].startswith("inbox/q.json: not JSON: ")
    assert (service_box.folder / "inbox/q.json").read_bytes() == data


def symlink(path: Path) -> None:
    (path.parent.parent / "elsewhere.json").write_text("{}")
    path.symlink_to(path.parent.parent / "elsewhere.json")


def hard_link(path: Path) -> None:
    (path.parent.parent / "elsewhere.json").write_text("{}")
    path.hardlink_to(path.parent.parent / "elsewhere.json")


def listener(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path.name)
    os.chdir(here)


def huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2 << 30)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a symbolic link": (symlink, "symbolic link"),
    "a hard link": (hard_link, "hard link"),
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a folder": (Path.mkdir, "a folder"),
    "a socket": (listener, "not a regular file"),
    "2 GB": (huge, "2,147,483,648 bytes, more than the 16,777,216"),
    "a list": (lambda path: path.write_text("[1]"), "not a JSON object"),
    "half a character": (lambda path: path.write_text('{"id": "\\ud800"}'), "not JSON"),
    "another's": (lambda path: path.write_text('{"id": "p"}'), "its id is 'p', not 'q'"),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_things_in_an_inbox_end_in_dead_and_nothing_hangs(service_box: Mailbox, what: str) -> None:
    make, why = ODD[what]
    make(service_box.folder / "inbox/q.json")
    settled(service_box, "q")
    assert (
        letter(service_box, "q")["message"].startswith("inbox/q.json: ") and why in letter(service_box, "q")["message"]
    )
    assert service_box.state("q") == "dead"
    assert list(service_box.claims()) == []
    if (elsewhere := service_box.folder / "elsewhere.json").exists():
        assert elsewhere.read_text() == "{}"


def test_wrong_schemas_and_requests_of_others_are_dead_at_once(step_box: Mailbox, ask) -> None:
    inbox = step_box.folder / "inbox"
    (inbox / "r1.json").write_bytes(files.pretty({**ask(1), "more": 1}))
    (inbox / "r2.json").write_bytes(files.pretty(ask(1)))
    (inbox / "r3.json").write_bytes(files.pretty(ask(3, "20-other")))
    assert list(step_box.claims()) == []
    assert [letter(step_box, f"r{n}")["kind"] for n in (1, 2, 3)] == ["request"] * 3
    assert "more" in letter(step_box, "r1")["message"]
    assert "its id is 'r1', not 'r2'" in letter(step_box, "r2")["message"]
    assert "its step is '20-other', not '10-first'" in letter(step_box, "r3")["message"]


@pytest.mark.parametrize(
    "name", ["R1.json", "note.txt", "a b.json", "a\nb.json", "q.json~", "é.json", "x" * 120, "-.json"]
)
def test_odd_names_are_dead_letters_of_their_own(service_box: Mailbox, name: str) -> None:
    (service_box.folder / "inbox" / name).write_text("{}")
    assert list(service_box.claims()) == []
    (id,) = service_box.listing().dead
    assert id.startswith("bad-") and repr(name) in letter(service_box, id)["message"]


def test_names_that_are_no_text_and_hidden_names(service_box: Mailbox) -> None:
    inbox = os.fsencode(service_box.folder / "inbox")
    with open(inbox + b"/\xff\xfe.json", "wb"), open(inbox + b"/.q.json.swp", "wb"):
        pass
    assert list(service_box.claims()) == []
    assert len(service_box.listing().dead) == 1


def test_a_second_name_that_is_gone_at_the_next_look_was_none(service_box: Mailbox) -> None:
    """So it is where a file system still remembers the draft that a putter has just removed."""
    service_box.put("q", {"ask": 1})
    (service_box.folder / "remembered").hardlink_to(service_box.folder / "inbox/q.json")
    assert service_box.claim("q") is None and not service_box.is_dead("q")
    (service_box.folder / "remembered").unlink()
    claim = service_box.claim("q")
    assert claim is not None and claim.request == {"ask": 1} and not service_box.unsettled


def test_a_draft_of_a_killed_putter_is_no_hard_link(service_box: Mailbox) -> None:
    inbox = service_box.folder / "inbox"
    (inbox / ".draft-1-abc").write_text("{}")
    (inbox / "q.json").hardlink_to(inbox / ".draft-1-abc")
    claim = service_box.claim("q")
    assert claim is not None
    claim.commit_file({})
    sweep_folder(service_box.inbox_fd)
    assert os.listdir(inbox) == []


# -- commit -------------------------------------------------------------------------------------------------


def test_a_reply_carries_hashes_and_leaves_nothing_behind(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    claim = step_box.claim("r1")
    assert claim is not None
    out = claim.begin() / "out"
    (out / "sources").mkdir()
    (out / "sources/a.md").write_text("A\n")
    assert claim.commit_folder(FACTS) is True
    reply = step_box.reply("r1")
    assert reply is not None
    assert reply["artifacts"] == {"sources/a.md": {"sha256": files.sha256(b"A\n"), "bytes": 2}}
    assert (reply["request"], reply["tries"], reply["seconds"]) == (ask(), [], 1.5)
    assert reply["request_sha256"] == files.sha256(files.canonical(ask()))
    assert step_box.state("r1") == "done"
    assert os.listdir(step_box.folder / "inbox") == os.listdir(step_box.folder / "work") == []
    assert os.listdir(step_box.folder / "outbox/r1/sources") == ["a.md"]


def test_a_reply_of_a_service_is_one_file(service_box: Mailbox) -> None:
    service_box.put("q", {"ask": 1})
    claim = service_box.claim("q")
    assert claim is not None and claim.commit_file({"answer": 2}) is True
    assert service_box.reply("q") == {"answer": 2, "request_sha256": files.sha256(files.canonical({"ask": 1}))}
    assert os.listdir(service_box.folder / "work") == [] == os.listdir(service_box.folder / "inbox")


def test_a_late_commit_changes_nothing(step_box: Mailbox, ask) -> None:
    """Two hold the request at once, as where locks do not reach: the first reply stands."""
    step_box.put("r1", ask())
    first = step_box.claim("r1")
    assert first is not None
    shutil.copy(step_box.folder / "inbox/r1.json", step_box.folder / "inbox/copy")
    os.rename(step_box.folder / "inbox/copy", step_box.folder / "inbox/r1.json")  # another inode: another lock
    second = step_box.claim("r1")
    assert second is not None
    (first.begin() / "out/answer.txt").write_text("first")
    second_out = second.begin() / "out"
    (second_out / "answer.txt").write_text("second")
    kept_aside = step_box.folder / "late"
    shutil.copytree(second_out, kept_aside)
    assert first.commit_folder(FACTS) is True
    shutil.copytree(kept_aside, second_out)  # the late one has its files still
    assert second.commit_folder(FACTS) is False
    assert (step_box.folder / "outbox/r1/answer.txt").read_text() == "first"
    assert os.listdir(step_box.folder / "inbox") == os.listdir(step_box.folder / "work") == []


def test_late_failures_and_late_replies_of_a_service_change_nothing(service_box: Mailbox) -> None:
    def late(n: int):
        claim = service_box.claim("q")
        assert claim is not None
        path = service_box.folder / "inbox/q.json"
        shutil.copy(path, f"{path}.new")
        os.rename(f"{path}.new", path)
        return claim

    service_box.put("q", {})
    first, second, third, fourth = (late(n) for n in range(4))
    assert first.commit_file({"by": 1}) is True
    assert second.commit_file({"by": 2}) is False
    third.fail(ERROR)
    fourth.give_up("refused", "no")
    reply = service_box.reply("q")
    assert reply is not None and reply["by"] == 1
    assert service_box.listing().dead == frozenset() and os.listdir(service_box.folder / "work") == []


def test_a_folder_without_a_reply_is_no_reply(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    (step_box.folder / "outbox/r1").mkdir()
    (step_box.folder / "outbox/r1/half").touch()
    assert step_box.state("r1") == "waiting" and step_box.reply("r1") is None
    claim = step_box.claim("r1")
    assert claim is not None
    claim.begin()
    with pytest.raises(FileExistsError, match="10-first/outbox/r1: is there but is no reply; move it away"):
        claim.commit_folder(FACTS)
    claim.release()


@pytest.mark.parametrize("what", [Path.mkdir, lambda path: path.symlink_to("nothing"), os.mkfifo])
def test_what_is_no_file_is_no_reply_of_a_service(service_box: Mailbox, what: Callable[[Path], object]) -> None:
    service_box.put("q", {"ask": 1})
    foreign = service_box.folder / "outbox/q.json"
    what(foreign)
    for _ in range(2):
        assert service_box.state("q") == "waiting" and service_box.put("q", {"ask": 1}) is False
        claim = service_box.claim("q")
        assert claim is not None
        with pytest.raises(FileExistsError, match=r"echo/outbox/q\.json: is there but is no reply; move it away"):
            claim.commit_file({"answer": 1})
        claim.release()
    foreign.rename(service_box.folder / "away")
    claim = service_box.claim("q")
    assert claim is not None and claim.commit_file({"answer": 1}) and service_box.state("q") == "done"


@pytest.mark.parametrize("kind", ["step", "service"])
def test_a_reply_that_may_not_be_durable_leaves_its_request(kind: str, request, ask, monkeypatch) -> None:
    """fsync tells of an error once: that the next one succeeds says nothing of the reply."""
    box: Mailbox = request.getfixturevalue(f"{kind}_box")
    box.put("r1", ask(1, box.name))
    claim, fsync, failed = box.claim("r1"), os.fsync, list[int]()
    assert claim is not None

    def fails_once(descriptor: int) -> None:
        if descriptor == box.outbox_fd and not failed:
            failed.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    if box.folders:
        claim.begin()
    monkeypatch.setattr(os, "fsync", fails_once)
    with pytest.raises(OSError, match="Input/output error"):
        claim.commit_folder(FACTS) if box.folders else claim.commit_file({})
    claim.fail(ERROR)  # as an agent does
    assert box.state("r1") == "done" and list(box.claims()) == [] and failed
    assert os.listdir(box.folder / "inbox") == ["r1.json"]
    with closing(Mailbox(box.folder, folders=box.folders, request=None, reply=None)) as later:
        assert list(later.claims()) == []
    assert os.listdir(box.folder / "inbox") == []


def test_a_reply_that_nobody_could_read_is_not_committed(step_box: Mailbox, ask, monkeypatch) -> None:
    step_box.put("r1", ask())
    claim = step_box.claim("r1")
    assert claim is not None
    (claim.begin() / "out/answer.txt").touch()
    monkeypatch.setattr(files, "MAX_DOCUMENT", 400)
    with pytest.raises(BadFile, match=r"reply\.json: \d+ bytes, more than the 400 that a document may have"):
        claim.commit_folder(FACTS)
    assert step_box.state("r1") == "running" and os.listdir(step_box.folder / "outbox") == []


def test_a_reply_that_is_a_link_is_no_reply(step_box: Mailbox, ask, tmp_path: Path) -> None:
    step_box.put("r1", ask())
    finish(step_box, "r1")
    os.rename(step_box.folder / "outbox/r1", tmp_path / "outside")
    (step_box.folder / "outbox/r1").symlink_to(tmp_path / "outside")
    assert not step_box.answered("r1") and step_box.reply("r1") is None and step_box.state("r1") is None
    assert step_box.put("r1", ask()) is True


def test_what_is_no_artifact_is_refused(step_box: Mailbox, ask, tmp_path: Path) -> None:
    step_box.put("r1", ask())
    (tmp_path / "scratch").mkdir()
    makers = [
        lambda out: (out.rmdir(), out.symlink_to(tmp_path / "scratch")),
        lambda out: (out.rmdir(), out.symlink_to(tmp_path / "nothing")),
        lambda out: (out.rmdir(), out.touch()),
        lambda out: (out / "link").symlink_to("/etc/passwd"),
        lambda out: (out / "folder").symlink_to("/etc"),
        lambda out: os.mkfifo(out / "fifo"),
        lambda out: (out / "reply.json").symlink_to("/etc/passwd"),
        lambda out: (out / "reply.json").write_text("{}"),
        lambda out: (out / "a\nb").touch(),
        lambda out: open(os.fsencode(out) + b"/\xff", "wb").close(),
    ]
    for make in makers:
        claim = step_box.claim("r1")
        assert claim is not None
        make(claim.begin() / "out")
        with pytest.raises(BadFile):
            claim.commit_folder(FACTS)
        claim.fail({**ERROR, "kind": "stopped"})
    assert os.listdir(step_box.folder / "outbox") == os.listdir(tmp_path / "scratch") == []
    assert os.listdir(step_box.folder / "inbox") == ["r1.json"]


@pytest.mark.parametrize("moment", ["before the request went", "before the work went"])
def test_what_a_killed_agent_left_after_its_reply_is_cleaned_up(step_box: Mailbox, ask, moment: str) -> None:
    step_box.put("r1", ask())
    finish(step_box, "r1")
    tries.begin(step_box.work("r1"))
    if moment == "before the request went":
        (step_box.folder / "inbox/r1.json").write_bytes(files.canonical(ask()))
    assert step_box.state("r1") == "done"
    with closing(Mailbox(step_box.folder)) as after:
        tidy(after)
        assert list(after.claims()) == []
    assert os.listdir(step_box.folder / "inbox") == os.listdir(step_box.folder / "work") == []


# -- failures -----------------------------------------------------------------------------------------------


def test_failures_wait_longer_each_time_and_count_to_tries(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    waits = []
    for number in (1, 2, 3):
        with closing(Mailbox(step_box.folder)) as box:  # a restarted agent: its clock begins anew
            claim = box.claim("r1")
            assert claim is not None and claim.begin().name == f"try-{number}"
            claim.fail(ERROR)
            assert box.claim("r1") is None, "it is put off"
            crash = schema.check(files.read_json(step_box.work("r1") / f"try-{number}/crash.json"), "error.v1")
            waits.append(crash["wait_s"])
            assert box.state("r1") == ("dead" if number == 3 else "failed")
    assert waits == [1.0, 2.0, 4.0]
    found = letter(step_box, "r1")
    assert found["message"] == "3 tries failed; the last: ValueError: no"
    assert found["tries"][0] == {"n": 1, "kind": "error", "message": "ValueError: no", "seconds": None}
    assert found["request_sha256"] == files.sha256(files.canonical(ask()))


def test_the_wait_passes(service_box: Mailbox) -> None:
    service_box.put("q", {})
    service_box.postpone("q", 0.2)
    assert service_box.claim("q") is None
    eventually(lambda: service_box.claim("q"), "claimed after its wait")


def test_every_thread_may_put_requests_off(service_box: Mailbox) -> None:
    """As the service of models does, whose calls end in threads."""
    together, often = threading.Barrier(16), sys.getswitchinterval()

    def put_off(n: int) -> None:
        together.wait()
        for k in range(200):
            service_box.postpone(f"q{n}-{k}", 100.0)

    threads = [threading.Thread(target=put_off, args=(n,)) for n in range(16)]
    sys.setswitchinterval(1e-6)
    try:
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(often)
    asked = [f"q{n}-{k}" for n in range(16) for k in range(200)]
    service_box.put_many((id, {}) for id in asked)
    assert list(service_box.claims()) == [] and 0 < service_box.postponed() <= 100.0


def test_failed_tries_are_told_in_the_reply(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    claim = step_box.claim("r1")
    assert claim is not None
    claim.begin()
    claim.fail(ERROR)
    with closing(Mailbox(step_box.folder)) as box:
        finish(box, "r1")
    reply = step_box.reply("r1")
    assert reply is not None and reply["tries"] == [
        {"n": 1, "kind": "error", "message": "ValueError: no", "seconds": None}
    ]


@pytest.mark.parametrize("kind", sorted(tries.FREE))
def test_what_is_not_the_requests_fault_does_not_count(step_box: Mailbox, ask, kind: str) -> None:
    step_box.put("r1", ask())
    for _ in range(8):
        with closing(Mailbox(step_box.folder)) as box:
            claim = box.claim("r1")
            assert claim is not None
            (claim.begin() / "out/part").touch()
            claim.fail({**ERROR, "kind": kind})
    assert step_box.state("r1") == ("failed" if kind == "disk" else "waiting")


@pytest.mark.parametrize("keeps", [True, False])
def test_a_stop_between_deaths_ends_their_row_if_it_kept_something(step_box: Mailbox, ask, keeps: bool) -> None:
    step_box.put("r1", ask())
    for how in (*["death"] * 2, "stopped", *["death"] * 3):
        with closing(Mailbox(step_box.folder)) as box:
            claim = box.claim("r1")
            assert claim is not None
            claim.begin()
            if how == "death":
                claim.close()
                continue
            if keeps:
                (claim.work / "kept/part").touch()
            claim.fail({**ERROR, "kind": how})
    assert (step_box.claim("r1") is not None) == keeps


def test_a_dead_letter_that_is_brought_back_has_fresh_tries(step_box: Mailbox, ask) -> None:
    with pytest.raises(BadFile, match="no dead letter"):
        step_box.revive("r1")
    step_box.put("r1", ask())
    for life in (1, 2):
        for _ in range(3):
            with closing(Mailbox(step_box.folder)) as box:
                claim = box.claim("r1")
                assert claim is not None
                claim.begin()
                claim.fail(ERROR)
        assert step_box.state("r1") == "dead" and step_box.claim("r1") is None
        step_box.revive("r1")
        assert step_box.state("r1") == "waiting" and len(tries.all_tries(step_box.work("r1"))) == 3 * life
    finish(step_box, "r1")
    reply = step_box.reply("r1")
    assert reply is not None and [one["n"] for one in reply["tries"]] == [1, 2, 3, 4, 5, 6]


def test_given_up_at_once(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    claim = step_box.claim("r1")
    assert claim is not None
    claim.begin()
    claim.give_up("goal", "goal.md: too few facts; name more sources")
    assert (letter(step_box, "r1")["kind"], step_box.state("r1")) == ("goal", "dead")
    assert step_box.claim("r1") is None and step_box.put("r1", ask()) is False


def test_a_failure_that_quotes_what_is_no_text_is_still_told(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    claim = step_box.claim("r1")
    assert claim is not None
    claim.begin()
    claim.fail({**ERROR, "message": "no such file: a\udcff", "last_lines": ["\udcff"]})
    assert files.read_json(step_box.work("r1") / "try-1/crash.json")["message"].startswith("no such file: a\ufffd")
    step_box.bury("r1", "refused", "no such file: \udcff")
    assert letter(step_box, "r1")["message"].startswith("no such file: \ufffd")


def test_a_service_leaves_no_folder_until_a_try_has_failed(service_box: Mailbox) -> None:
    service_box.put("q", {})
    claim = service_box.claim("q")
    assert claim is not None
    assert os.listdir(service_box.folder / "work") == []
    claim.fail({**ERROR, "where": "echo"})
    assert os.listdir(service_box.folder / "work/q") == ["try-1"]
    assert service_box.state("q") == "failed"


def forbidden(descriptor: int, mode: int) -> None:
    raise PermissionError


@pytest.mark.parametrize("chmod", [lambda descriptor, mode: None, forbidden])
def test_a_mark_that_nobody_can_take_off_is_no_death(service_box: Mailbox, chmod, monkeypatch) -> None:
    """As on a file system that keeps no modes, or of another user's file."""
    service_box.put("q", {})
    (service_box.folder / "inbox/q.json").chmod(0o755)
    monkeypatch.setattr(os, "fchmod", chmod)
    for _ in range(tries.DEATHS + 2):
        claim = service_box.claim("q")
        assert claim is not None and os.listdir(service_box.folder / "work") == []
        claim.release()
    monkeypatch.undo()
    for deaths in range(1, tries.DEATHS + 1):
        claim = service_box.claim("q")  # begins with the mark of the one before
        assert (claim is not None) == (deaths < tries.DEATHS)
        assert len(tries.all_tries(service_box.work("q"))) == deaths
        if claim:
            claim.close()
    assert service_box.is_dead("q")


def test_a_crash_json_that_a_child_left_is_replaced(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    for n in (1, 2, 3):
        claim = step_box.claim("r1")
        assert claim is not None
        (claim.begin() / "crash.json").write_text("a child's own")
        claim.fail({**ERROR, "message": f"failed {n}"})
        step_box.postpone("r1", 0.0)
    assert step_box.state("r1") == "dead"
    assert "the last: failed 3" in letter(step_box, "r1")["message"]


def test_what_could_only_be_refused_is_not_asked(service_box: Mailbox) -> None:
    for document in ({"text": "x" * files.MAX_REQUEST}, {"n": float("nan")}, {"n": 2**64}):
        with pytest.raises(schema.Invalid, match="the request: "):
            service_box.put("q", document)
    assert os.listdir(service_box.folder / "inbox") == []


def test_states_first_match_wins(step_box: Mailbox, ask) -> None:
    """Reply, dead letter, lock, HOLD, a failed try, a request: take them away one by one."""
    step_box.put("r1", ask())
    finish(step_box, "r1")
    assert step_box.put("r1", ask()) is False
    (step_box.folder / "inbox/r1.json").write_bytes(files.canonical(ask()))
    step_box.bury("r1", "tries", "no")
    tries.begin(step_box.work("r1"))
    assert step_box.hold is not None
    step_box.hold.touch()
    with open(step_box.folder / "inbox/r1.json", "r+b") as held:
        locks.take(held.fileno())
        assert step_box.state("r1") == "done"
        shutil.rmtree(step_box.folder / "outbox/r1")
        assert step_box.state("r1") == "dead"
        (step_box.folder / "dead/r1.json").unlink()
        assert step_box.state("r1") == "running"
    assert step_box.state("r1") == "held"
    step_box.hold.unlink()
    assert step_box.state("r1") == "failed"
    shutil.rmtree(step_box.work("r1"))
    assert step_box.state("r1") == "waiting"
    (step_box.folder / "inbox/r1.json").unlink()
    assert step_box.state("r1") is None


# -- trouble ------------------------------------------------------------------------------------------------

FULL = """
import json, os, sys
from pathlib import Path
from bus import files, locks
from bus.mailbox import Mailbox
folder = Path(sys.argv[1])
box = Mailbox(folder / "10-first", request=None)
box.put("r1", {"schema": "any.v1"})
(folder / "fill").write_bytes(b"x" * 60_000)
try:
    while True:
        with open(folder / "fill", "ab", buffering=0) as fill:
            fill.write(b"x")
except OSError:
    pass
said = []
try:
    box.put("r2", {"schema": "any.v1"})
except OSError as error:
    said.append(files.is_full(error))
for _ in range(7):  # more than five deaths, more than three failures
    claim = Mailbox(box.folder, request=None).claim("r1")
    try:
        out = claim.begin() / "out"
        (out / "answer").write_bytes(b"y" * 5000)
    except OSError as error:
        try:
            claim.fail({"kind": "disk", "message": str(error), "where": "10-first"})
        except OSError as problem:
            said.append(files.is_full(problem))
    claim.release()
(box.folder / "inbox/bad.json").mkdir()
box.claim("bad")
said.append([box.state("r1"), box.state("r2"), sorted(os.listdir(box.folder / "dead"))])
os.unlink(folder / "fill")
fresh = Mailbox(box.folder, request=None)
fresh.put("r2", {"schema": "any.v1"})
for claim in fresh.claims():
    (claim.begin() / "out/answer").write_bytes(b"y" * 5000)
    claim.commit_folder({"read": {}, "seconds": 0, "usd": 0, "gpu_s": 0, "cpu_s": 0})
said.append([box.state("r1"), box.state("r2"), box.state("bad")])
print(json.dumps(said))
"""


def test_a_full_disk_fails_loudly_counts_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """A real tmpfs of 100 kB that is filled up, in a mount namespace of its own."""
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    script = 'mount -t tmpfs -o size=100k,mode=700 tmpfs "$1" && exec "$2" -c "$3" "$1"'
    argv = [*mount, script, "sh", str(tmp_path), sys.executable, FULL]
    if subprocess.run([*mount, 'mount -t tmpfs tmpfs "$1"', "sh", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    ended = subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=120)
    assert ended.returncode == 0, ended.stderr
    *errors, full, after = json.loads(ended.stdout)
    assert errors and all(errors)
    assert full[0] in ("waiting", "failed") and full[1:] == [None, []]
    assert after == ["done", "done", "dead"]


def test_an_inbox_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "box").mkdir()
    (tmp_path / "box/inbox").symlink_to(tmp_path / "outside")
    with pytest.raises(BadFile, match=r"box/inbox: .*folders of its own"):
        Mailbox(tmp_path / "box")


def test_answers_the_same_to_another_process(step_box: Mailbox, ask) -> None:
    step_box.put("r1", ask())
    claim = step_box.claim("r1")
    code = "import sys; from pathlib import Path; from bus.mailbox import Mailbox\n"
    code += "box = Mailbox(Path(sys.argv[1])); print(box.state('r1'), box.claim('r1'))"
    assert run("-c", code, str(step_box.folder)).stdout == "running None\n"
    assert claim is not None
    claim.release()
    assert run("-c", code, str(step_box.folder)).stdout.startswith("waiting <bus.claim.Claim")
