"""What may become of a claim: the rules of a history for those that are held."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from agents._publish import publish_path
from bus.claim import Claim
from bus.mailbox import Mailbox
from tests.crash.canary import FACTS
from tests.crash.input_catalogue import STEP
from tests.crash.model_plain import FREE, Request

IDS = ("a", "r2", "r10")
KINDS = ("error", "child", "death", *FREE)
ids = st.sampled_from(IDS)
boxes = st.sampled_from((0, 1))
rounds = st.integers(1, 2)  # two contents that one ID may be asked
which = st.integers(0, len(IDS) - 1)  # of the claims that are held just now, in order
kinds = st.sampled_from(KINDS)
working = precondition(lambda self: any(one.holder is not None for one in self.model.values()))


def document(id: str, round: int) -> dict[str, Any]:
    return {"schema": "request.v1", "id": id, "step": STEP, "round": round}


class Claims(RuleBasedStateMachine):
    """A mailbox opened by two processes, as it were: each has its own locks."""

    folders = True

    def __init__(self, folder: Path, counts: dict[str, int]) -> None:
        super().__init__()
        self.run, self.counts = folder / "run", counts
        self.hold = self.run / "HOLD"
        self.boxes = [self.open(), self.open()]
        self.model = {id: Request() for id in IDS}
        self.seen: dict[str, tuple[int, bytes]] = {}  # ID -> its reply, as it was first seen
        counts["histories"] += 1

    def open(self) -> Mailbox:
        options: dict[str, Any] = {} if self.folders else {"folders": False, "request": None, "reply": None}
        return Mailbox(self.run / STEP, hold=self.hold, durable=False, **options)

    def teardown(self) -> None:
        for one in self.model.values():
            if one.holder is not None:
                one.holder.close()
        for box in self.boxes:
            box.close()
        shutil.rmtree(self.run)

    def held(self) -> bool:
        return self.hold.exists()

    def claimed(self, box: int, id: str) -> Claim | None:
        """Claim one, as the model says; the wait after a failure has passed."""
        expected = self.model[id].claim(self.held(), not self.folders)
        self.boxes[box]._not_before.clear()
        claim = self.boxes[box].claim(id)
        assert (claim is not None) == expected, f"claim {id}: {claim}, not {expected}"
        if claim is not None:
            assert claim.request == self.model[id].asked
        return claim

    # -- what a holder does ------------------------------------------------------------

    def held_by_us(self, which: int) -> str:
        held = [id for id, one in self.model.items() if one.holder is not None]
        return held[which % len(held)]

    @working
    @rule(which=which)
    def begin(self, which: int) -> None:
        self.begun(self.held_by_us(which))

    def begun(self, id: str) -> None:
        """Begin a try, where there are such and it has not begun."""
        one = self.model[id]
        if self.folders and one.begun is None:
            one.begin()
            assert one.holder.begin().name == f"try-{len(one.tries)}"

    @working
    @rule(which=which, part=st.sampled_from("xyz"))
    def keep(self, which: int, part: str) -> None:
        self.keep_one(self.held_by_us(which), part)

    def keep_one(self, id: str, part: str) -> None:
        one = self.model[id]
        if one.begun is not None:
            publish_path(one.holder.work / "kept" / part, b"kept", durable=False)
            one.kept.add(part)

    @working
    @rule(which=which, begin=st.booleans())
    def die(self, which: int, begin: bool) -> None:
        self.dead_of(self.held_by_us(which), begin)

    def dead_of(self, id: str, begin: bool = True) -> None:
        """As the kernel ends a claim: its descriptor is closed, and nothing else happens."""
        if begin:
            self.begun(id)
        claim = self.model[id].holder
        os.close(claim.descriptor)
        claim.descriptor = -1
        self.model[id].die()

    @working
    @rule(which=which)
    def commit(self, which: int) -> None:
        self.committed(self.held_by_us(which))

    def committed(self, id: str) -> None:
        self.begun(id)
        one, claim = self.model[id], self.model[id].holder
        if self.folders:
            (claim.folder / "out" / "a.txt").write_text(id)
            assert claim.commit_folder(FACTS)
            reply = self.boxes[0].reply(id)
            assert reply is not None and reply["request"] == one.asked and list(reply["artifacts"]) == ["a.txt"]
            assert [past["kind"] for past in reply["tries"]] == [
                past.kind for past in one.tries if past is not one.begun
            ]
        else:
            assert claim.commit_file({"id": id, "asked": one.asked})
        assert not (self.run / STEP / "work" / id).exists(), f"the tries of {id} are left"
        one.commit()

    @working
    @rule(which=which, kind=kinds)
    def fail(self, which: int, kind: str) -> None:
        self.failed(self.held_by_us(which), kind)

    def failed(self, id: str, kind: str) -> None:
        self.model[id].holder.fail({"kind": kind, "message": "a bad day", "where": STEP})
        self.model[id].fail(kind)

    @working
    @rule(which=which)
    def give_up(self, which: int) -> None:
        one = self.model[self.held_by_us(which)]
        one.holder.give_up("refused", "a bad request")
        one.dead = True
        one.release()

    @working
    @rule(which=which)
    def release(self, which: int) -> None:
        one = self.model[self.held_by_us(which)]
        if one.begun is None:
            one.holder.release()
            one.release()
