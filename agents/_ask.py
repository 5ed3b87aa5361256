"""Ask models through the run's `llm` mailbox: a question is a request file, its answer the reply.

Answers that are there already are not asked for again, by whomever they were asked; so a step that was killed goes on
at the call where it was.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents import _budget
from agents._config import Config
from agents.models import call as calls
from agents.models.profile import Role, chain, roles
from bus import files, locks, schema
from bus.mailbox import Conflict, Mailbox
from bus.run import Run
from bus.wake import Bell

SERVICE = "llm"
REPLAY = "REPLAY"  # in llm/, see bin/_replay.py: what is not answered there is not asked anywhere
WINDOW = 128  # calls that one step has open: more than any endpoint takes at once, few enough for two steps to share
LONELY_S = 15.0  # with no reply and nobody who could answer: then a person is told
GIVEN_UP = "unanswered: "  # what was given up is counted so among the answers, with its reason
PASSED_OVER = frozenset({"budget", "model", "tries"})  # dead letters that another start of the run may do better


class NoModel(Exception):
    """A role that no enabled profile can fill; the step does without a model."""


class NotReplayed(Exception):
    """A replayed run asked what its original did not."""


@dataclass(frozen=True)
class Question:
    """One question to a role's model; `schema` is the JSON Schema of its answer, None for prose."""

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any] | None = None
    sample: int = 0
    max_tokens: int | None = None  # of the answer; the role's own if None
    temperature: float | None = None


@dataclass(frozen=True)
class Unanswered:
    """A call that was given up: `kind` budget, model, or what else its dead letter says."""

    kind: str
    message: str


class Asker:
    """What one step asks of models. `heard` is told the ID of each answer before it is handed out."""

    def __init__(
        self,
        run: Run,
        config: Config,
        step: str,
        say: Callable[[str], None],
        heard: Callable[[str], None] = lambda id: None,
    ) -> None:
        self.run, self.step, self.say, self.heard = run, step, say, heard
        self._roles, self._enabled = roles(config.roles), _budget.enabled(run, config)
        self.unanswered: dict[str, str] = {}  # calls that were given up: why, in a word
        self._replay: Mapping[str, Any] | None = None
        if SERVICE in run.services and (path := run.folder / SERVICE / REPLAY).exists():
            self._replay = files.read_json(path)

    @property
    def mailbox(self) -> Mailbox:
        return self.run.mailbox(SERVICE)

    def profile(self, role: str) -> str | None:
        """The profile that a role asks first; None: it has none here, and the step does without a model."""
        return next((name for name, _ in self._asked(role)), None)

    def _asked(self, role: str) -> list[tuple[str, str]]:
        """(profile, its model) of those that may answer a role; in a replay of those that the original asked."""
        if self._replay is not None:
            return [(name, model) for name, model in self._replay["profiles"].get(role, ())]
        if role not in self._roles or SERVICE not in self.run.services:
            return []
        return [(one.name, one.model) for one in chain(self._roles[role], self._enabled)]

    def call(self, role: str, question: Question, asked: tuple[str, str] | None = None) -> dict[str, Any]:
        """call.v1 for a question, to the role's first profile unless another is `asked`; raises NoModel."""
        if (first := asked or next(iter(self._asked(role)), None)) is None:
            raise NoModel(f"role {role}: no enabled profile can fill it; see models: in config/infra.yaml")
        known = self._roles.get(role, Role(role))
        tokens = known.max_tokens if question.max_tokens is None else question.max_tokens
        warmth = known.temperature if question.temperature is None else question.temperature
        parameters = {"max_tokens": tokens, "temperature": warmth}
        return calls.question(role, *first, question.messages, parameters, question.schema, question.sample, self.step)

    def put(self, asked: Sequence[Mapping[str, Any]]) -> list[str]:
        """Ask and do not wait; returns the calls' IDs. What was given up for want of money or model is asked anew."""
        ids = [calls.hash_of(call) for call in asked]
        if self._replay is not None:
            return ids
        try:
            self.mailbox.put_many((id, dict(call)) for id, call in zip(ids, asked, strict=True))
        except Conflict:  # one was asked first by another step: by its ID it is the same question
            for id, call in zip(ids, asked, strict=True):
                with contextlib.suppress(Conflict):
                    self.mailbox.put(id, dict(call))
        for id in ids:
            if self.mailbox.is_dead(id) and not self.mailbox.answered(id) and self._letter(id).kind in PASSED_OVER:
                with contextlib.suppress(files.BadFile, FileNotFoundError):  # another asker was quicker
                    self.mailbox.revive(id)
        return ids

    def one(self, role: str, question: Question) -> dict[str, Any] | Unanswered:
        """The answer to one question."""
        return next(answer for _, answer in self.all(role, [question]))

    def all(
        self, role: str, questions: Iterable[Question], window: int = WINDOW
    ) -> Iterator[tuple[int, dict[str, Any] | Unanswered]]:
        """(place, called.v1 or Unanswered) of many questions, as the answers come; at most `window` are open."""
        if self._replay is not None:
            yield from self._replayed(role, questions, self._replay)
            return
        feed, open_calls = enumerate(questions), dict[str, list[int]]()
        with Bell([self.mailbox.folder / "outbox", self.mailbox.folder / "dead"]) as bell:
            since = time.monotonic()
            while True:
                more = list(itertools.islice(feed, max(0, window - len(open_calls))))
                ids = self.put([self.call(role, question) for _, question in more])
                for id, (place, _) in zip(ids, more, strict=True):
                    open_calls.setdefault(id, []).append(place)
                if not open_calls:
                    return
                came = False
                for id in list(open_calls):  # one after the other: what was not handed out was not heard
                    if (answer := self._answer(id)) is not None:
                        came = True
                        for place in open_calls.pop(id):
                            yield place, answer
                if came:
                    since = time.monotonic()
                    continue
                bell.wait()
                if time.monotonic() - since > LONELY_S and not locks.is_held(self.mailbox.folder / "ledger.jsonl"):
                    self.say(f"waits for the llm agent; by hand: bin/agent llm {self.run.name} --watch")
                    since = time.monotonic()

    def _replayed(
        self, role: str, questions: Iterable[Question], replay: Mapping[str, Any]
    ) -> Iterator[tuple[int, dict[str, Any] | Unanswered]]:
        """`all` from what is there; raises NotReplayed for what is missing.

        What was given up for want of money comes last, as whoever hears of it asks no more: the original had asked all
        that is there by then, and what it has never heard of is where it stopped.
        """
        given_up: list[tuple[int, Unanswered]] = []
        for place, question in enumerate(questions):
            known: Sequence[tuple[str, str] | None] = self._asked(role) or [None]
            asked = [self.call(role, question, one) for one in known]
            ids = [calls.hash_of(call) for call in asked]
            answer = next((found for id in ids if (found := self._answer(id)) is not None), None)
            if isinstance(answer, Unanswered):
                given_up.append((place, answer))
            elif answer is not None:
                yield place, answer
            elif any(one.kind == "budget" for _, one in given_up) and not set(ids) & set(replay["lost"]):
                break
            else:
                raise NotReplayed(
                    f"llm/outbox/{ids[0]}.json: is not among the replayed calls ({role}: "
                    f"{question.messages[-1]['content'][:60]!r}); the original was not answered, its file is gone, or "
                    "`roles:` in config/swarm.yaml gives this role other settings now"
                )
        yield from given_up

    def _answer(self, id: str) -> dict[str, Any] | Unanswered | None:
        if self.mailbox.answered(id):
            self.heard(id)
            self.unanswered.pop(id, None)
            return self.mailbox.reply(id)
        if not self.mailbox.is_dead(id):
            return None
        letter = self._letter(id)
        self.unanswered[id] = letter.kind
        return letter

    def _letter(self, id: str) -> Unanswered:
        try:
            letter = schema.check(files.read_json(self.mailbox.folder / "dead" / f"{id}.json"), "dead.v1")
        except FileNotFoundError:  # brought back just now
            return Unanswered("gone", f"{id}: was given up and brought back")
        return Unanswered(letter["kind"], letter["message"])
