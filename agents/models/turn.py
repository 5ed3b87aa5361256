"""From one call to its one reply: which profile, how often, at what pace, within which budget.

A call is asked of its profiles in order. What passes (429, 5xx, time-outs, broken connections) is tried again at the
same one, at the pace that it allows; what does not (a wrong key, a bad request, a refusal, a budget without room) goes
on to the next. Every attempt is reserved in the ledger before it is sent, settled after, and stands in the reply.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agents.models import call as calls
from agents.models import endpoint, structured
from agents.models.aimd import How
from agents.models.endpoint import Answer, Failure, Idle, Tokens
from agents.models.exchange import Exchange, Wrong
from agents.models.ledger import EXTRA_PER_MESSAGE, EXTRA_TOKENS, NOTHING, BudgetGone
from agents.models.past import Past
from agents.models.profile import Profile

PASSING = frozenset({"busy", "server", "timeout", "connection", "malformed"})  # what another attempt may not meet
ATTEMPTS = 5  # at one profile for one call, of what passes; a fallback or a later try takes over
BUSY_ATTEMPTS = 20  # a 429 costs nothing, and says nothing about the call
OUTAGE_SENDS = 20  # of a call that a server takes and does not answer: each may be billed, so that no outage is endless
BYTES_A_TOKEN = 3  # of a question, where its share of the context is estimated: less than most texts have
ROOM = 2  # times as many tokens for an answer that was cut off
ELSEWHERE = frozenset({"refused", "filtered"})  # what one model will not answer, another may
QUOTED = 200  # characters of a refusal that its error quotes


class Unanswered(Exception):
    """No profile answered. `passing`: it may be answered later; `outage`: nor is anything known against the call."""

    def __init__(self, message: str, passing: bool, outage: bool) -> None:
        super().__init__(message)
        self.passing, self.outage = passing, outage


class Stopping(Exception):
    """The agent is to end; the call goes back as it was."""


class Turn:
    """One call, and what was attempted for it. It waits in contexts made by `idle`: for its turn, money, its server."""

    def __init__(
        self, exchange: Exchange, id: str, call: Mapping[str, Any], idle: Idle = contextlib.nullcontext
    ) -> None:
        self.exchange, self.id, self.call, self.idle = exchange, id, call, idle
        self.past = exchange.past.setdefault(id, Past())
        self.patient = True  # the last profile's cooldown is waited out; of others, the next is asked

    def reply(self) -> dict[str, Any]:
        """called.v1: the answer, or what is wrong with it; raises Unanswered, Stopping, Impossible, BudgetGone."""
        began = time.monotonic()
        failures: list[tuple[Profile, Failure]] = []
        found: dict[str, Any] | None = None
        gone: BudgetGone | None = None
        self.check()
        chain = self.exchange.profiles(self.call)
        for profile in chain:
            self.patient = profile is chain[-1]
            try:
                found = self.by(profile)
            except Failure as failure:
                failures.append((profile, failure))
                continue
            except BudgetGone as error:  # the next may cost less, or nothing
                gone = gone or error
                continue
            if not found["error"] or found["error"]["kind"] not in ELSEWHERE:
                break
        clean = self.exchange.blotter.clean
        if found is None:  # else what was said is paid, whatever it is worth
            if gone:
                raise gone
            passing = any(failure.kind in PASSING for _, failure in failures)
            said = clean("; ".join(str(failure) for _, failure in failures))
            raise Unanswered(said, passing, self.is_outage(failures))
        attempts = self.past.attempts
        found |= {"seconds": round(time.monotonic() - began, 3), **spent(attempts), "attempts": attempts}
        return dict(clean({"schema": "called.v1", "call": dict(self.call), **found}))

    def check(self) -> None:
        """Raise Wrong for a call that would be paid for and could not be judged; its request was put by hand."""
        if self.call["answer_schema"]:
            try:
                structured.check_schema(self.call["answer_schema"])
            except ValueError as error:
                raise Wrong(f"answer_schema: is no JSON schema: {error}; correct it and ask again") from None

    def is_outage(self, failures: Sequence[tuple[Profile, Failure]]) -> bool:
        """True where nobody is answered: then waiting helps. If others are, it is this call, and its tries count."""
        if self.past.in_vain >= OUTAGE_SENDS:
            return False
        for profile, failure in failures:
            others = self.exchange.reach.answers(profile.name) > self.past.seen.get(profile.name, math.inf)
            if failure.kind not in PASSING or (others and (failure.sent or failure.status is not None)):
                return False
        return True

    def by(self, profile: Profile) -> dict[str, Any]:
        """What one profile makes of the call; raises Failure where it makes nothing."""
        schema, messages = self.call["answer_schema"], [dict(one) for one in self.call["messages"]]
        parameters = {**self.call["parameters"]}
        if schema and "json_schema" not in profile.capabilities:  # else what it must hold is nowhere told
            messages[-1]["content"] += "\n\n" + structured.instruction(schema)
        room = room_for(profile, messages, schema)
        parameters["max_tokens"] = min(parameters["max_tokens"], room)
        answer = self.sent(profile, messages, parameters)
        if answer.finish == "length" and parameters["max_tokens"] < room:
            parameters["max_tokens"] = min(ROOM * parameters["max_tokens"], room)
            answer = self.better(answer, profile, messages, parameters)
        found = judged(profile, answer, schema)
        if found["error"] and found["error"]["kind"] == "unfit":  # once more, with what is wrong
            again = f"That did not fit: {found['error']['message']}. Answer again with the JSON document alone."
            if "json_schema" in profile.capabilities:  # a server may ignore what it was sent as the schema
                again += "\n\n" + structured.instruction(schema)
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": again}]
            found = judged(profile, self.better(answer, profile, messages, parameters), schema)
        return found

    def better(
        self,
        first: Answer,
        profile: Profile,
        messages: Sequence[Mapping[str, str]],
        parameters: Mapping[str, Any],
    ) -> Answer:
        """Another answer; the first, which is paid, where money or server has none to give."""
        try:
            return self.sent(profile, messages, parameters)
        except (BudgetGone, Failure):
            return first

    def sent(self, profile: Profile, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]) -> Answer:
        """One answer, after as many attempts as it takes; raises the last Failure."""
        left = dict.fromkeys(PASSING, ATTEMPTS) | {"busy": BUSY_ATTEMPTS}
        while True:
            try:
                return self.once(profile, messages, parameters)
            except Failure as failure:
                left[failure.kind] = left.get(failure.kind, 1) - 1
                if left[failure.kind] <= 0 or (not self.patient and self.exchange.paces[profile.name].cooling_s()):
                    raise

    def once(self, profile: Profile, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]) -> Answer:
        """One attempt: a slot at the profile's pace, a reservation, the exchange, and the books."""
        exchange, pace = self.exchange, self.exchange.paces[profile.name]
        with self.idle():
            entered = pace.enter(exchange.stopping, through_cooldown=self.patient)
        if not entered:
            if exchange.stopping.is_set():
                raise Stopping
            raise Failure(
                "server", f"{profile.name}: failed too often of late; it is left alone for a while", sent=False
            )
        self.past.seen.setdefault(profile.name, exchange.reach.answers(profile.name))
        how: How = "unsent"  # where no budget has room for it
        wait: float | None = None
        try:
            answer = self.booked(profile, messages, parameters)
            exchange.reach.answered(profile)
            how = "ok"
            return answer
        except Failure as failure:
            exchange.reach.failed(profile, failure)
            how = "ok"  # a call that an endpoint rejects says nothing against it
            if failure.kind in PASSING or failure.kind == "auth":
                how, wait = ("busy" if failure.kind == "busy" else "failed"), failure.retry_after_s
            raise
        finally:
            pace.leave(how, wait)

    def booked(self, profile: Profile, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]) -> Answer:
        """One exchange between its reservation and its settlement."""
        ledger, stop, schema = self.exchange.ledger, self.exchange.stopping.is_set, self.call["answer_schema"]
        most = most_tokens(messages, schema, parameters["max_tokens"])
        with self.idle():
            session = self.exchange.session  # the first takes a while
            books = ledger.reserve(self.id, self.call["step"], profile.name, profile.price, most, stop)
        if books is None:
            raise Stopping
        noted: dict[str, Any] = {"profile": profile.name, "model": profile.model, "status": None, "how": "broken"}
        noted |= {"said": "an error that nobody foresaw", "usd": None, "tokens": None}
        used: Tokens | None = None
        began = time.monotonic()
        try:
            key = self.exchange.keys[profile.name]
            answer = endpoint.ask(session, profile, key, messages, parameters, schema, self.idle)
        except Failure as failure:
            noted |= {"status": failure.status, "how": failure.kind, "said": str(failure)}
            if not failure.sent:
                used, noted["usd"] = NOTHING, 0.0
            raise
        else:
            noted |= {"status": 200, "how": answer.finish, "said": "", "tokens": asdict(answer.tokens)}
            if answer.tokens.counted:
                one = used = answer.tokens
                noted["usd"] = profile.price.usd(one.input, one.output, one.cached) if profile.price else None
            return answer
        finally:  # however it ended: or all would wait for its money, once the budget has no other
            ledger.settle(books, used, noted["usd"], noted["how"])
            self.past.attempts.append({**noted, "seconds": round(time.monotonic() - began, 3)})


def room_for(profile: Profile, messages: Sequence[Mapping[str, str]], schema: Any) -> int:
    """The most tokens of an answer: its own limit, or what an estimate of the question leaves of the context."""
    asked = calls.bytes_of({"messages": messages, "answer_schema": schema}) // BYTES_A_TOKEN
    left = profile.context - asked - EXTRA_TOKENS
    return min(profile.max_output, left) if left > 0 else profile.max_output  # the server may count less


def judged(profile: Profile, answer: Answer, schema: Any) -> dict[str, Any]:
    """What an answer is worth: its text, the document in it where one was asked for, or what is wrong with it."""
    found: dict[str, Any] = {"text": answer.text, "parsed": None, "mended": [], "finish": answer.finish}
    error = None
    if answer.finish in ("refusal", "filter"):
        kind = "refused" if answer.finish == "refusal" else "filtered"
        error = {"kind": kind, "message": answer.text[:QUOTED] or "nothing was said"}
    elif answer.finish == "length":
        error = {"kind": "truncated", "message": "the answer was cut off; allow it more tokens"}
    elif schema:
        try:
            found["parsed"], found["mended"] = structured.parsed(answer.text, schema)
        except structured.Unfit as unfit:
            error = {"kind": "unfit", "message": str(unfit)}
    elif not answer.text.strip():
        error = {"kind": "empty", "message": "nothing was said"}
    return found | {"model": answer.model, "profile": profile.name, "error": error}


def spent(attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Dollars and tokens of all attempts; dollars are null where those of one attempt are not known."""
    paid = [one["usd"] for one in attempts]
    tokens = [one["tokens"] for one in attempts if one["tokens"]]
    total: dict[str, Any] = {key: sum(one[key] for one in tokens) for key in ("input", "output", "cached")}
    total["counted"] = all(one["counted"] for one in tokens)
    return {"usd": None if None in paid else round(sum(paid), 9), "tokens": total}


def most_tokens(messages: Sequence[Mapping[str, str]], schema: Any, output: int) -> tuple[int, int]:
    """The most tokens that a question and its answer can have."""
    sent = calls.bytes_of({"messages": messages, "answer_schema": schema})
    return sent + EXTRA_TOKENS + EXTRA_PER_MESSAGE * len(messages), output
