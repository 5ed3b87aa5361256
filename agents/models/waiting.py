"""Which of the calls that wait is worked on next: each profile has room for its own, and none waits for another's."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping

from bus import files
from bus.mailbox import Mailbox

BESIDE = 16  # calls of a profile in hand that are read already, and wait until one that may be paid for is answered


class Waiting:
    """The calls in an inbox, by the profile that each asks first, and which are in hand.

    `rooms`: {profile: how many requests it takes at once}. `only`: the IDs that are ours, None if all are. One thread
    asks for the next, any may end a call.
    """

    def __init__(self, mailbox: Mailbox, rooms: Mapping[str, int], only: frozenset[str] | None = None) -> None:
        self.mailbox, self.only = mailbox, only
        self._rooms = {profile: count + BESIDE for profile, count in rooms.items()}
        self._queues: dict[str, deque[str]] = defaultdict(deque)
        self._hands: dict[str, set[str]] = defaultdict(set)  # of sets, as these change in one step for all threads
        self._known: dict[str, str] = {}  # the profile of a call that waits or is in hand

    @property
    def most(self) -> int:
        """How many calls can be in hand at once."""
        return sum(self._rooms.values()) + BESIDE

    @property
    def in_hand(self) -> int:
        return sum(map(len, list(self._hands.values())))

    @property
    def hungry(self) -> bool:
        """True while a profile has room and nothing that is known waits for it."""
        return any(self._room(one) and not self._queues[one] for one in self._rooms)

    def look(self) -> None:
        """List the inbox, and put what is new in order."""
        hands = {id for own in list(self._hands.values()) for id in own}
        ids = self.mailbox.asked(hands) if self.only is None else self._own(self.only - hands)
        known = self._known
        self._known = {id: known[id] if id in known else self._profile(id) for id in ids}
        self._queues.clear()
        for id in ids:
            self._queues[self._known[id]].append(id)

    def _own(self, ids: frozenset[str]) -> list[str]:
        there = set(files.names(self.mailbox.inbox_fd))
        return sorted(id for id in ids if f"{id}.json" in there and not self.mailbox.is_dead(id))

    def next(self) -> Iterator[str]:
        """The calls that can be taken in hand now, of each profile in turn; each is in hand from then on."""
        while profiles := [one for one, queue in self._queues.items() if queue and self._room(one)]:
            for one in profiles:
                id = self._queues[one].popleft()
                self._hands[one].add(id)
                yield id

    def end(self, id: str) -> bool:
        """A call is no longer in hand; True if its profile had no room until now."""
        for one, own in list(self._hands.items()):
            if id in own:
                full = not self._room(one)
                own.discard(id)
                return full
        return False

    def _room(self, profile: str) -> bool:
        return len(self._hands[profile]) < self._rooms.get(profile, BESIDE)

    def _profile(self, id: str) -> str:
        """The profile that a call asks first; "" for one that is not enabled, or not to be read now."""
        try:
            call = files.parse(files.read_bytes(f"{id}.json", files.MAX_REQUEST, self.mailbox.inbox_fd), id)
        except (OSError, files.BadFile):  # the claim tells what is wrong with it
            return ""
        profile = call.get("profile") if isinstance(call, dict) else ""
        return profile if profile in self._rooms else ""
