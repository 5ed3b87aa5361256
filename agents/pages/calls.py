"""Tell what the models of a run did and cost, as blocks of a page. Pure: sums and documents in, blocks out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents._ask import GIVEN_UP
from agents.models.bill import Bill, Line
from agents.pages.page import Block, Paragraph, Points, Table
from agents.pages.rounds import SLICES, Round

UNKNOWN = "unknown"
HEAD = ("step", "profile", "calls", "tokens in", "tokens out", "dollars")
OWN = "judged by the teacher's own model"


def models(told: Round) -> list[Block]:
    """Calls, tokens and dollars by step and profile; who spoke for which role; what was left out."""
    spent = told.spent or Bill()
    rows = [row(step, profile, [line]) for (step, profile), line in sorted(spent.lines.items())]
    profiles = sorted({profile for _, profile in spent.lines})
    if len(rows) > len(profiles):
        for name in profiles:
            rows.append(row("all steps", name, [line for (_, one), line in spent.lines.items() if one == name]))
    if len(profiles) > 1:
        rows.append(row("all steps", "together", spent.lines.values()))
    blocks: list[Block] = [Table(HEAD, rows, frozenset(range(2, 6))), Paragraph(about_dollars(spent))]
    said = [*who_spoke(spent), *map_of(told.asked), *made_up(told.sources), *pairs_of(told.generated)]
    left = left_out(told, spent)
    return [*blocks, Points([*said, *(left or ["Nothing was left out for want of money."])]), *judged(told)]


def row(step: str, profile: str, lines: Iterable[Line]) -> list[str]:
    """One line of the table."""
    listed = list(lines)
    sums = [sum(len(one.calls) for one in listed), sum(one.input for one in listed), sum(one.output for one in listed)]
    return [step, profile, *(f"{value:,}" for value in sums), dollars(listed)]


def dollars(lines: Sequence[Line]) -> str:
    """Dollars, `unknown` where those of one attempt are."""
    return UNKNOWN if any(one.unknown for one in lines) else f"{sum(one.usd for one in lines):.4f}"


def about_dollars(spent: Bill) -> str:
    """What the sums hold."""
    unknown, known = sum(one.unknown for one in spent.lines.values()), sum(one.usd for one in spent.lines.values())
    said = "All calls of the run so far, from llm/ledger.jsonl; a question with a reply is never paid again."
    if unknown:
        said += f" The dollars of {unknown} attempts are unknown; the others cost {known:.4f}."
    return said


def who_spoke(spent: Bill) -> list[str]:
    """The models that answered each role."""
    found = []
    for role, who in sorted(spent.spoke.items()):
        found.append(f"Role {role}: {', '.join(f'{model} (profile {profile})' for profile, model in sorted(who))}.")
    return found


def made_up(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sources that a model wrote."""
    found = [one for one in sources if one.get("kind") == "generated"]
    return [
        f"Source {one['id']}: {one['generated']['kept']} of {one['generated']['wanted']} error scenarios, written by "
        f"{one['generated']['model']}; no exam question rests on them."
        for one in found
    ]


def map_of(asked: Mapping[str, Any] | None) -> list[str]:
    """Whether a model drew the map of the domain."""
    if not asked:
        return []
    of_use = f"{asked['answered']} of {asked['questions']} questions to {asked['model']}"
    return [f"The domain map: {of_use} brought answers of use."]


def pairs_of(generated: Mapping[str, Any] | None) -> list[str]:
    """What the teacher's model gave for training."""
    if not generated:
        return []
    answers = generated["answers"]
    given_up = {how.removeprefix(GIVEN_UP): n for how, n in answers.items() if how.startswith(GIVEN_UP)}
    came = {how: n for how, n in answers.items() if not how.startswith(GIVEN_UP)}
    lost = f", {sum(given_up.values()):,} given up ({counted(given_up)})" if given_up else ""
    return [
        f"Pairs: {generated['pairs']:,} of the teacher's model are taught, {generated['wanted']:,} were wanted, beside "
        f"{generated['extractive']:,} examples cut from the sources. Of {generated['prompts']:,} questions to it "
        f"{sum(came.values()):,} were answered ({counted(came) or 'none'}){lost}. Of {generated['given']:,} pairs in "
        f"good answers, left out were: {counted(generated['left_out']) or 'none'}."
    ]


def counted(found: Mapping[str, int]) -> str:
    """Counts in words, the largest first."""
    return ", ".join(f"{n:,} {name}" for name, n in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def left_out(told: Round, spent: Bill) -> list[str]:
    """What the money or the models did not reach, step by step."""
    found = [
        f"{step}: {n} answers were of no use: refused, cut off or unfit."
        for step, n in sorted(spent.useless.items())
        if n
    ]
    for step, kinds in sorted(spent.given_up.items()):
        found += [f"{step}: {n} calls were given up ({kind})." for kind, n in sorted(kinds.items())]
    if told.generated and told.generated["stopped"]:
        chunks = told.generated["chunks"]
        left = chunks["all"] - chunks["answered"]
        found.append(f"30-generate: {left} of {chunks['all']} pieces of the sources were left out; "
                     f"{told.generated['stopped']}.")  # fmt: skip
    if unjudged := told.dataset.get("judge", {}).get("unanswered"):
        found.append(f"40-filter: {sum(unjudged.values())} examples of a model were not judged ({counted(unjudged)}).")
    for name, one in told.verdict["slices"].items():
        if one.get("judged", {}).get("left_out"):
            found.append(f"60-evaluate: {one['judged']['left_out']} long answers of {name} were not judged.")
    return [*found, *how_to_have_it(told.own)]


def how_to_have_it(replies: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line: what a person does to have the answers that steps went without."""
    lacking = [reply for reply in replies if "unanswered" in reply]
    if not lacking:
        return []
    kinds = {kind for reply in lacking for kind in reply["unanswered"]}
    mend = ["raise the budget in config/infra.yaml"] if "budget" in kinds else []
    mend += ["mend what llm/dead says (a key, a price, an endpoint)"] if kinds != {"budget"} else []
    first = min(lacking, key=lambda reply: str(reply["step"]))  # what was made of it is made anew after it
    return [
        f"To have what was left out: {' and '.join(mend)}, then in the run's folder rm -r {first['step']}/outbox/"
        f"{first['id']}, and start the run again; what was answered is not paid again."
    ]


def judged(told: Round) -> list[Block]:
    """What the judge said of the long answers, by slice."""
    judge, slices = told.verdict.get("judge"), told.verdict["slices"]
    if not judge:
        return []
    rows = []
    for name in SLICES:
        if found := slices.get(name, {}).get("judged"):
            counts = [str(found[key]) for key in ("n", "wins", "losses", "ties", "flips", "left_out")]
            between = f"{found['low']:+.3f} to {found['high']:+.3f}"
            rows.append([name, found["verdict"], *counts, f"{found['difference']:+.3f}", between])
    head = ("slice", "verdict", "judged", "wins", "losses", "ties", "of which flipped", "left out", "difference",
            "95% interval")  # fmt: skip
    who = f"Long answers, each pair {OWN if judge['teachers_own'] else 'judged'} in both orders, by "
    who += f"{', '.join(judge['models']) or 'nobody who answered'} (profile {', '.join(judge['profiles'])}), "
    who += "with a rubric and the reference. Wins and losses are the specialist's; a verdict that flips with the order "
    who += "is a tie, and the difference is wins less losses, of all judged."
    warning = (
        [Paragraph(f"{OWN.capitalize()}: models favour what they wrote themselves.")] if judge["teachers_own"] else []
    )
    return [Paragraph(who), *warning, Table(head, rows, frozenset(range(2, 10)))]
