"""How many of the exam's questions a judge will compare: by the rules of `filter`, on the examples as far as known.

What is cut from the sources is known whole; what a teacher adds is told from its pilot, or assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from agents.exam.documented import documented
from agents.exam.quality import screen
from agents.exam.rules import TAUGHT_ITEMS, by_family, first_exam
from agents.exam.slices import Split
from agents.quoting.ahead import Ahead
from agents.quoting.rates import Examined
from agents.teacher.mixture import mixed
from agents.teacher.pair import Pair
from agents.teacher.wording import rank

CHANCES = 1 << 32  # as many equal parts has what a hash draws

Example = dict[str, Any]


def examined(
    ahead: Ahead, there: Sequence[Example], pairs: Sequence[Pair] = (), kept: float = 1.0
) -> tuple[Examined, Examined | None]:
    """(what is cut from the sources, what each exam wording of a teacher adds) of the exam's long answers.

    `there` is what is cut, `pairs` are a teacher's, of which a judge lets the share `kept` pass; None for no wording.
    """
    seed = ahead.goal.seed
    every = mixed(there, pairs, len(pairs), seed).examples if pairs else there
    wordings = sum("made" in one and one["use"] == "exam" for one in every)
    fit, _ = screen(every, ahead.texts)
    fit, _ = documented(fit, ahead.rows)
    passed = [one for one in fit if "made" not in one or chance(seed, one["id"]) < kept]
    split = first_exam(passed, ahead.texts, [], seed)
    own = {one["id"] for one in passed if "made" in one}
    made = counted(split, passed, own, True).times(1 / wordings) if wordings else None
    return counted(split, passed, own, False), made


def chance(seed: int, id: str) -> float:
    """A number from 0 to 1 that an example has for ever."""
    return int(rank(seed, "passes", id)[:8], 16) / CHANCES


def counted(split: Split, passed: Sequence[Example], own: set[str], made: bool) -> Examined:
    """The part of a split that the teacher made, or the other one; a family is cut if any exam wording of it is."""
    asked = by_family(one for one in passed if one["use"] == "exam")
    taught = {row["family"] for row in split.train} & asked.keys()
    families = sum(all(one["id"] in own for one in asked[name]) == made for name in taught)
    items = [one for one in [*split.taught, *split.validation, *split.unseen] if (one["id"] in own) == made]
    known = [one for one in items if one["slice"] == "taught"]
    long = [one for one in items if not one["short"]]
    share = fmean(not one["short"] for one in known) if known else 0.0
    bytes = fmean(len(f"{one['question']}{one['answer']}".encode()) for one in long) if long else 0.0
    return Examined(families, share, sum(one["slice"] != "taught" for one in long), bytes)


def long(cut: Examined, made: Examined) -> tuple[float, float]:
    """(how many questions have a long answer, bytes of one with its reference) in an exam of both parts.

    `taught` asks about families of either part by chance, up to its limit.
    """
    share = min(1.0, TAUGHT_ITEMS / ((cut.families + made.families) or 1.0))
    n, more = (part.families * share * part.long + part.held for part in (cut, made))
    return n + more, (n * cut.bytes + more * made.bytes) / ((n + more) or 1.0)
