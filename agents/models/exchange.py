"""Who answers a call: the profiles that may, each with its key, its pace, and the books that all share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from agents.models import endpoint
from agents.models.keys import Blotter, key_of
from agents.models.ledger import Ledger
from agents.models.pace import LOOK_S, Pace
from agents.models.past import unanswered
from agents.models.profile import Profile, Role, chain
from agents.models.reach import Reach


class Impossible(Exception):
    """A call that no try can answer as things are here: no profile is enabled for it, or none may be paid."""

    kind = "model"


class Wrong(Impossible):
    """A call that nobody can answer at all."""

    kind = "request"


class Exchange:
    """The enabled profiles of a run; one object serves all threads of the `llm` agent. Raises NoKey."""

    def __init__(
        self, enabled: Mapping[str, Profile], roles: Mapping[str, Role], ledger: Ledger, stopping: threading.Event
    ) -> None:
        self.enabled, self.roles, self.ledger, self.stopping = enabled, roles, ledger, stopping
        self.paces = {name: Pace(profile.concurrency) for name, profile in enabled.items()}
        self.reach = Reach()
        self.past = unanswered(ledger.path.parent, enabled)
        # One that is missing stops them all: no role goes over to its fallback because somebody forgot an `export`.
        self.keys = {name: key_of(profile) for name, profile in enabled.items()}
        self.blotter = Blotter(self.keys.values())
        # Calls that may be paid for and have no reply yet: so many, of each profile, are lost at most by a kill.
        self._risks = {name: threading.Semaphore(profile.concurrency) for name, profile in enabled.items()}
        self._own = threading.local()

    def profiles(self, call: Mapping[str, Any]) -> list[Profile]:
        """The profiles that may answer a call, the ones that are not cooling down first; raises Impossible."""
        role = self.roles.get(call["role"])
        named = [self.enabled[call["profile"]]] if call["profile"] in self.enabled else []
        able = list(dict.fromkeys([*named, *(chain(role, self.enabled) if role else [])]))
        if not (known := able):
            raise Impossible(
                f"role {call['role']}: none of its profiles is enabled; see models: in config/infra.yaml, "
                "roles: in config/swarm.yaml"
            )
        if self.ledger.limits.dollars and not (able := [one for one in able if one.price]):
            raise Impossible(
                f"models: {', '.join(one.name for one in known)}: has no price, and a dollar budget stands; give it "
                "`price: {input: …, output: …}` in config/infra.yaml (0 for a model of your own)"
            )
        return sorted(able, key=lambda one: self.paces[one.name].cooling_s())

    def enter(self, call: Mapping[str, Any]) -> bool:
        """Wait until this thread may work on a call, until it says `leave`; False when stopping. Raises Impossible."""
        risk = self._risks[self.profiles(call)[0].name]
        while not self.stopping.is_set():
            if risk.acquire(timeout=LOOK_S):
                self._own.risk = risk
                return True
        return False

    def leave(self) -> None:
        """The thread's call has its reply on disk, or goes back."""
        if risk := getattr(self._own, "risk", None):
            self._own.risk = None
            risk.release()

    def down(self) -> tuple[str, float] | None:
        """(the endpoints that give no answers, in words, and in how many seconds the first is tried again), or None."""
        if not (found := self.reach.down()):
            return None
        return "; ".join(found.values()), min(self.paces[name].cooling_s() for name in found)

    @property
    def session(self) -> Any:
        """This thread's own connections."""
        if not hasattr(self._own, "session"):
            self._own.session = endpoint.session()
        return self._own.session
