"""Histories of one mailbox, of either kind, with two claimants, compared with its model after every step."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from agents._run import tidy
from bus import files
from bus.mailbox import Conflict, order
from tests.crash.input_catalogue import STEP
from tests.crash.model_claims import Claims, boxes, document, ids, kinds, rounds, which
from tests.crash.model_plain import DEATHS


class Box(Claims):
    """Everything else that may be done to a mailbox, and what must be so after each step."""

    # -- asking ---------------------------------------------------------------------------------------------

    @rule(box=boxes, id=ids, round=rounds)
    def put(self, box: int, id: str, round: int) -> None:
        expected = self.model[id].put(document(id, round))
        try:
            found = "new" if self.boxes[box].put(id, document(id, round)) else "same"
        except Conflict as error:
            found = "conflict"
            assert id in str(error)
        assert found == expected, f"put {id}: {found}, not {expected}"

    @rule(box=boxes, pairs=st.lists(st.tuples(ids, rounds), max_size=5))
    def put_many(self, box: int, pairs: list[tuple[str, int]]) -> None:
        documents = [(id, document(id, round)) for id, round in pairs]
        before = {id: one.asked for id, one in self.model.items()}
        expected = [self.model[id].put(one) for id, one in documents]
        try:
            assert self.boxes[box].put_many(documents) == expected.count("new")
            assert "conflict" not in expected
        except Conflict:
            assert "conflict" in expected
            for id in {id for id, _ in pairs if before[id] is None}:  # what was asked before it was noticed stays
                if not (self.run / STEP / "inbox" / f"{id}.json").exists():
                    self.model[id].asked = None

    @rule(box=boxes, id=ids)
    def withdraw(self, box: int, id: str) -> None:
        self.boxes[box]._not_before.clear()
        self.boxes[box].withdraw(id)
        self.model[id].withdraw(self.held(), not self.folders)

    # -- serving --------------------------------------------------------------------------------------------

    @rule(box=boxes, id=ids)
    def claim(self, box: int, id: str) -> None:
        if (claim := self.claimed(box, id)) is not None:
            self.model[id].holder = claim

    @rule(box=boxes)
    def claims(self, box: int) -> None:
        """Drain the mailbox, and give everything back."""
        self.boxes[box]._not_before.clear()
        asked = sorted((id for id, one in self.model.items() if one.asked is not None), key=order)
        asked = [id for id in asked if not self.model[id].dead]  # also what a kill left of one that is done
        expected = [id for id in asked if self.model[id].claim(self.held(), not self.folders)]
        found = []
        for claim in self.boxes[box].claims():
            found.append(claim.id)
            claim.release()
            self.model[claim.id].release()
        assert found == expected, f"claims: {found}, not {expected}"

    # -- the same, as agents do it: one after another ------------------------------------------------------

    @rule(box=boxes, id=ids, round=rounds, ends=st.lists(kinds | st.sampled_from(["die", "keep and die"]), max_size=6))
    def work(self, box: int, id: str, round: int, ends: list[str]) -> None:
        """Ask, try several times, and then answer, as far as it is let."""
        self.put(box, id, round)
        self.work_on(box, id, [*ends, "commit"])

    def work_on(self, box: int, id: str, ends: list[str]) -> None:
        for end in ends:
            if (claim := self.claimed(box, id)) is None:
                return
            self.model[id].holder = claim
            self.begun(id)
            if end == "keep and die":
                self.keep_one(id, f"part-{len(self.model[id].tries)}")
            if end == "commit":
                self.committed(id)
            elif "die" in end:
                self.dead_of(id)
            else:
                self.failed(id, end)

    @rule(box=boxes, id=ids, times=st.integers(DEATHS - 1, DEATHS + 1), keep=st.booleans())
    def die_again_and_again(self, box: int, id: str, times: int, keep: bool) -> None:
        self.work_on(box, id, ["keep and die" if keep else "die"] * times)

    @rule(box=boxes, id=ids)
    def bury(self, box: int, id: str) -> None:
        self.boxes[box].bury(id, "test", "by hand")
        self.model[id].dead = True

    @rule(box=boxes, id=ids)
    def revive(self, box: int, id: str) -> None:
        expected = self.model[id].revive()
        try:
            self.boxes[box].revive(id)
            assert expected
        except files.BadFile as error:
            assert not expected and id in str(error)

    # -- what happens around it -----------------------------------------------------------------------------

    @rule(held=st.booleans())
    def hold_or_go_on(self, held: bool) -> None:
        self.hold.touch() if held else self.hold.unlink(missing_ok=True)

    @precondition(lambda self: any(one.replied is not None for one in self.model.values()))
    @rule(which=which)
    def leave(self, which: int) -> None:
        """What a kill right after the reply leaves: the request, and a folder of its tries."""
        replied = [id for id, one in self.model.items() if one.replied is not None]
        one, id = self.model[replied[which % len(replied)]], replied[which % len(replied)]
        if one.asked is None:
            (self.run / STEP / "inbox" / f"{id}.json").write_bytes(files.canonical(one.replied))
            (self.run / STEP / "work" / id / "try-1").mkdir(parents=True, exist_ok=True)
            one.asked = one.replied

    @rule(box=boxes)
    def start_anew(self, box: int) -> None:
        if not any(one.holder is not None and one.holder.mailbox is self.boxes[box] for one in self.model.values()):
            self.boxes[box].close()
            self.boxes[box] = self.open()
            tidy(self.boxes[box])

    # -- what must be so after each of these ----------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        """Both boxes say what the model says, and no reply has changed."""
        self.counts["steps"] += 1
        held, model = self.held(), self.model
        asked = {id for id, one in model.items() if one.asked is not None}
        replied, dead = (
            {id for id, one in model.items() if one.replied is not None},
            {id for id in model if model[id].dead},
        )
        pending = sorted(asked - replied - dead, key=order)
        for box in self.boxes:
            found = {id: (box.state(id), box.answered(id), box.is_dead(id)) for id in model}
            expected = {id: (one.state(held), id in replied, id in dead) for id, one in model.items()}
            assert found == expected, f"the states are {found}, not {expected}"
            look = box.listing()
            assert (*look, look.pending) == (asked, replied, dead, pending), f"the listing is {look}"
        for id in replied:
            path = self.run / STEP / "outbox" / (f"{id}/reply.json" if self.folders else f"{id}.json")
            now = path.stat().st_ino, path.read_bytes()
            assert self.seen.setdefault(id, now) == now, f"the reply of {id} has changed"


class StepBox(Box):
    """Replies are folders, tries are folders, parts are kept."""


class ServiceBox(Box):
    """Replies are files; a death shows only by the mark on its request."""

    folders = False
