"""From one call to its one reply: which profile, how often, at what pace, within which budget.

A call is asked of its profiles in order. What passes (429, 5xx, time-outs, broken connections) is tried again at the
same one, at the pace that it allows; what does not (a wrong key, a bad request, a refusal) goes on to the next. Every
attempt is reserved in the ledger before it is sent, settled after, and stands in the reply.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agents.models import call as calls
from agents.models import endpoint, structured
from agents.models.aimd import How
from agents.models.endpoint import Answer, Failure, Idle
from agents.models.exchange import Exchange
from agents.models.ledger import EXTRA_PER_MESSAGE, EXTRA_TOKENS, BudgetGone
from agents.models.profile import Profile

PASSING = frozenset({"busy", "server", "timeout", "connection", "malformed"})  # what another attempt may not meet
ATTEMPTS = 5  # at one profile for one call, of what passes; a fallback or a later try takes over
BUSY_ATTEMPTS = 20  # a 429 costs nothing, and says nothing about the call
ROOM = 2  # times as many tokens for an answer that was cut off
ELSEWHERE = frozenset({"refused", "filtered"})  # what one model will not answer, another may
QUOTED = 200  # characters of a refusal that its error quotes


class Unanswered(Exception):
    """No profile answered. `passing`: nothing is known to be wrong with the call; it may be answered later."""

    def __init__(self, message: str, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class Stopping(Exception):
    """The agent is to end; the call goes back as it was."""


class Turn:
    """One call, and what was attempted for it. It waits in contexts made by `idle`: for its turn, money, its server."""

    def __init__(
        self, exchange: Exchange, id: str, call: Mapping[str, Any], idle: Idle = contextlib.nullcontext
    ) -> None:
        self.exchange, self.id, self.call, self.idle = exchange, id, call, idle
        self.attempts: list[dict[str, Any]] = []
        self.patient = True  # the last profile's cooldown is waited out; of others, the next is asked

    def reply(self) -> dict[str, Any]:
        """called.v1: the answer, or what is wrong with it; raises Unanswered, Stopping, Impossible, BudgetGone."""
        began = time.monotonic()
        failures: list[Failure] = []
        found: dict[str, Any] | None = None
        chain = self.exchange.profiles(self.call)
        for profile in chain:
            self.patient = profile is chain[-1]
            try:
                found = self.by(profile)
            except Failure as failure:
                failures.append(failure)
                continue
            except BudgetGone:
                if found is None:
                    raise
                break  # what was said is paid, whatever it is worth
            if not found["error"] or found["error"]["kind"] not in ELSEWHERE:
                break
        clean = self.exchange.blotter.clean
        if found is None:
            passing = any(one.kind in PASSING for one in failures)
            raise Unanswered(clean("; ".join(map(str, failures))), passing)
        found |= {"seconds": round(time.monotonic() - began, 3), **spent(self.attempts), "attempts": self.attempts}
        return dict(clean({"schema": "called.v1", "call": dict(self.call), **found}))

    def by(self, profile: Profile) -> dict[str, Any]:
        """What one profile makes of the call; raises Failure where it makes nothing."""
        schema, messages = self.call["answer_schema"], [dict(one) for one in self.call["messages"]]
        parameters = {**self.call["parameters"]}
        parameters["max_tokens"] = min(parameters["max_tokens"], profile.max_output)
        if schema and "json_schema" not in profile.capabilities:  # else what it must hold is nowhere told
            messages[-1]["content"] += "\n\n" + structured.instruction(schema)
        answer = self.sent(profile, messages, parameters)
        if answer.finish == "length" and parameters["max_tokens"] < profile.max_output:
            parameters["max_tokens"] = min(ROOM * parameters["max_tokens"], profile.max_output)
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
        """Another answer; the first where the budget has no room for another, as that one is paid."""
        try:
            return self.sent(profile, messages, parameters)
        except BudgetGone:
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
        how: How = "ok"  # of the endpoint: a call that it rejects says nothing against it
        wait: float | None = None
        try:
            answer = self.booked(profile, messages, parameters)
            exchange.reach.answered(profile)
            return answer
        except Failure as failure:
            exchange.reach.failed(profile, failure)
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
        noted: dict[str, Any] = {"profile": profile.name, "model": profile.model}
        began = time.monotonic()
        try:
            key = self.exchange.keys[profile.name]
            answer = endpoint.ask(session, profile, key, messages, parameters, schema, self.idle)
        except Failure as failure:
            usd = None if failure.sent else 0.0
            ledger.settle(books, None, None) if failure.sent else ledger.release(books)
            noted |= {"status": failure.status, "how": failure.kind, "said": str(failure), "usd": usd, "tokens": None}
            raise
        else:
            one = answer.tokens
            usd = profile.price.usd(one.input, one.output, one.cached) if one.counted and profile.price else None
            ledger.settle(books, one if one.counted else None, usd)
            tokens = {"input": one.input, "output": one.output, "cached": one.cached, "counted": one.counted}
            noted |= {"status": 200, "how": answer.finish, "said": "", "usd": usd, "tokens": tokens}
            return answer
        finally:
            self.attempts.append({**noted, "seconds": round(time.monotonic() - began, 3)})


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
