"""Ask a judge which of two answers is better, in both orders, and count what it says slice by slice.

An answer whose verdict flips with the order is a tie (Zheng et al., 2023, "Judging LLM-as-a-Judge": judges favour a
place). Answers that are the same but for form are a tie that nobody is asked about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agents import _statistics as statistics
from agents._ask import Question
from agents.asking.material import RULE, quoted

MODELS = ("base", "specialist")
SHOWN = 4_000  # characters of one answer; a longer one is babble, and its beginning shows it
DIGITS = 6
WORTH = {"win": 1.0, "tie": 0.0, "loss": -1.0}
RUBRIC = (
    "You compare two answers to one question. The reference is right; judge by it and not by what you know. "
    "In this order: 1. Correctness: what an answer says agrees with the reference. 2. Completeness: it says all that "
    "the reference says. 3. Nothing beyond it that is wrong or made up. Length, style and which answer stands first "
    "count for nothing. Where neither is better by these three, or both are of no use, say neither. "
)
CHOICES = ("first", "second", "neither")
ANSWER = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "better": {"enum": list(CHOICES)}},
    "required": ["reason", "better"],
    "additionalProperties": False,
}

Item = Mapping[str, Any]
Said = Mapping[str, Mapping[str, Mapping[str, Any]]]  # {base, specialist: {item id: {text, …}}}


def question(item: Item, first: str, second: str) -> Question:
    """Which of two answers to an item is better; whose they are is not said."""
    parts = [
        quoted("question", item["question"]),
        quoted("reference", item["answer"]),
        quoted("first", first[:SHOWN], "answer"),
        quoted("second", second[:SHOWN], "answer"),
        "Give your `reason` in one sentence, then say which answer is `better`: first, second or neither.",
    ]
    system = {"role": "system", "content": RUBRIC + RULE}
    return Question([system, {"role": "user", "content": "\n\n".join(parts)}], ANSWER)


def in_turn(items: Iterable[Item], seed: int) -> list[Item]:
    """The items in an order that nobody chose, so that a budget that ends early leaves out some of every slice."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:judge:{item['id']}".encode()).hexdigest())


def both_orders(items: Sequence[Item], said: Said) -> Iterator[Question]:
    """Two questions for each item: the base's answer first, then the specialist's."""
    for item in items:
        texts = [said[model][item["id"]]["text"] for model in MODELS]
        yield question(item, *texts)
        yield question(item, *reversed(texts))


def alike(item: Item, said: Said) -> bool:
    """True where both answers are the same but for form."""
    base, specialist = (said[model][item["id"]]["text"] for model in MODELS)
    return bool(statistics.exact(base, specialist))


def outcome(base_first: str, specialist_first: str) -> dict[str, Any]:
    """{verdict: win, loss or tie of the specialist, flipped} of what the judge chose in either order."""
    one = {"first": "loss", "second": "win", "neither": "tie"}[base_first]
    other = {"first": "win", "second": "loss", "neither": "tie"}[specialist_first]
    return {"verdict": one if one == other else "tie", "flipped": one != other}


def counted(judged: Sequence[tuple[Mapping[str, Any], str]], wanted: int, seed: int) -> dict[str, Any]:
    """One slice's outcomes, each with its family, as verdict.v1 has them: wins, losses, ties, flips, and the word."""
    verdicts = [found["verdict"] for found, _ in judged]
    told = {"wins": verdicts.count("win"), "losses": verdicts.count("loss"), "ties": verdicts.count("tie")}
    told |= {"flips": sum(found["flipped"] for found, _ in judged), "left_out": wanted - len(judged)}
    if not judged:
        nothing = {"n": 0, "moved": 0, "difference": 0.0, "low": 0.0, "high": 0.0}
        return {"verdict": "cannot tell", "why": "no answer was judged", **told, **nothing}
    values = [WORTH[one] for one in verdicts]
    found = statistics.compare([0.0] * len(values), values, [family for _, family in judged], seed)
    word, why = statistics.verdict(found, lower_is_better=False)
    figures = {key: value for key, value in asdict(found).items() if key not in MODELS}
    rounded = {key: value if isinstance(value, int) else round(value, DIGITS) for key, value in figures.items()}
    return {"verdict": word, "why": why, **told, **rounded}
