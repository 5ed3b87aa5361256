"""What a script says: which answer a request gets.

    {
      "seed": 1,                     chances are drawn from it and from the request's body, never from the order
      "models": 500,                 the status of GET /v1/models (200)
      "ceiling": [                   more than it holds is answered 429; each entry holds from its `from_s` on
        {"from_s": 0, "at_once": 16, "per_s": 200, "bucket": 20, "retry_after": 1}],
      "bursts": {"every_s": 5, "for_s": 1, "retry_after": {"date_s": 2}},     429 to all, at the end of each `every_s`
      "default": ACT,                what every request gets, where no rule says otherwise
      "rules": [{"when": WHEN, …ACT}]      the first that holds is laid over the default
    }

WHEN (all must hold; {} always does; `nth` and `try` take a number or [first, last])
    words   text or texts that stand in the messages, in any case          model   the request's model
    nth     which request of the server this is, from 1                    try     which time this same body is sent
    every   each so many requests                                          share   of requests, by chance: 0.1
    times   this rule holds for so many requests at most

ACT
    latency_s    0.01 or [0.01, 0.05]: seconds before the first byte
    text         the answer; {nth} {try} {model} {last} stand for what they say ({last}: the last message)
    call         instead of text: one of answers.ANSWERS, such as "echo" or "qa pairs"
    finish       stop | length | content_filter | …       refusal   the text of a refusal
    usage        false: no usage is told                  ignores   of ["n", "max_tokens", "stream"]
    stream       true: streamed even if not asked for     done      false: a stream without [DONE]
    status       429, 500, 503, 529 …                     retry_after   seconds, or {"date_s": 2}: as a date
    error        an object sent as {"error": …}, by status 200, too
    raw, type    the literal body and its content type    redirect  a Location
    headers      more headers: {name: value}
    {key} in any of these texts stands for the key that the request came with; other forms of it: reveal.py
    wire         whole | drip (a piece each drip_s) | cut (hangs up in the middle) | hang up (before the first byte)
                 | silent (never answers) | close (closes after the answer, though it promised not to)
"""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

from tests.scripted import answers

ACT: dict[str, Any] = {
    "latency_s": 0.0,
    "text": "ok",
    "call": None,
    "finish": "stop",
    "refusal": None,
    "usage": True,
    "ignores": [],
    "stream": None,
    "done": True,
    "status": 200,
    "retry_after": None,
    "error": None,
    "raw": None,
    "type": None,
    "redirect": None,
    "headers": {},
    "wire": "whole",
    "drip_s": 0.05,
}
WIRES = {"whole", "drip", "cut", "hang up", "silent", "close"}
WHEN = {"words", "model", "nth", "try", "every", "share", "times"}
SCRIPT = {"seed", "models", "ceiling", "bursts", "default", "rules"}


class Script:
    """A script that was read and checked; raises ValueError for a word that it does not know."""

    def __init__(self, document: dict[str, Any]) -> None:
        _only(document, SCRIPT, "the script")
        self.seed = document.get("seed", 1)
        self.models: int = document.get("models", 200)
        self.ceiling: list[dict[str, Any]] = document.get("ceiling", [])
        self.bursts: dict[str, Any] | None = document.get("bursts")
        self.default = ACT | _act(document.get("default", {}), "default")
        self.rules = [_rule(one, f"rule {at}") for at, one in enumerate(document.get("rules", []))]
        self._used = [0] * len(self.rules)
        self._tries: dict[bytes, int] = {}
        self._nth = 0

    def choose(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], random.Random]:
        """(facts of this request: nth, try, rule; what it gets; its own chance)."""
        data = json.dumps(body, sort_keys=True).encode()
        key = hashlib.sha256(data).digest()
        self._nth += 1
        self._tries[key] = self._tries.get(key, 0) + 1
        facts = {"nth": self._nth, "try": self._tries[key], "rule": "default"}
        words = "\n".join(answers.message_texts(body)).lower()
        for at, (when, act) in enumerate(self.rules):
            chance = random.Random(f"{self.seed} {at} {self._tries[key]} {key.hex()}")
            if _holds(when, facts, words, body, chance) and self._used[at] < when.get("times", self._nth):
                self._used[at] += 1
                return facts | {"rule": at}, self.default | act, random.Random(f"{self.seed} {key.hex()}")
        return facts, self.default, random.Random(f"{self.seed} {key.hex()}")


def _rule(rule: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    when = rule.get("when", {})
    _only(when, WHEN, f"{name}: when")
    return when, _act({key: value for key, value in rule.items() if key != "when"}, name)


def _act(act: dict[str, Any], name: str) -> dict[str, Any]:
    _only(act, set(ACT), name)
    if act.get("wire", "whole") not in WIRES:
        raise ValueError(f"{name}: wire {act['wire']!r} is none of {sorted(WIRES)}")
    if act.get("call") not in {None, *answers.ANSWERS}:
        raise ValueError(f"{name}: call {act['call']!r} is none of {sorted(answers.ANSWERS)}")
    return act


def _only(found: dict[str, Any], known: set[str], name: str) -> None:
    if strange := set(found) - known:
        raise ValueError(f"{name}: unknown {sorted(strange)}; known are {sorted(known)}")


def _holds(
    when: dict[str, Any], facts: dict[str, Any], words: str, body: dict[str, Any], chance: random.Random
) -> bool:
    wanted = when.get("words", [])
    return (
        all(one.lower() in words for one in ([wanted] if isinstance(wanted, str) else wanted))
        and when.get("model", body.get("model")) == body.get("model")
        and all(_within(facts[key], when.get(key)) for key in ("nth", "try"))
        and facts["nth"] % when.get("every", 1) == 0
        and chance.random() < when.get("share", 1.0)
    )


def _within(number: int, wanted: Any) -> bool:
    if wanted is None:
        return True
    first, last = wanted if isinstance(wanted, list) else (wanted, wanted)
    return first <= number <= last
