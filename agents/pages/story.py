"""Tell a round as sections of a page. Pure: documents in, sections out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents import _recall
from agents.pages.calls import models
from agents.pages.page import Block, Paragraph, Points, Section, Table, shorten
from agents.pages.recommend import Recommendation, one_line
from agents.pages.results import beside, examples, outcome, training
from agents.pages.rounds import Round, repair

TEACHER = "the embedded extractive teacher: every pair is cut from the sources with its spans, no model wrote any of it"
RECALLED_SHOWN = 15
SIDE_BY_SIDE = "Base and specialist, side by side"  # the one section that quotes the exam, which bin/mcp leaves out


def tell(told: Round, recommendations: Sequence[Recommendation]) -> list[Section]:
    """The whole report."""
    sections = [
        Section("Is it better?", outcome(told)),
        Section("What was done", done(told)),
        Section("Recommendations", advice(recommendations)),
        Section("Training", training(told)),
        Section(SIDE_BY_SIDE, examples(told)),
        Section("What it cost", costs(told)),
        Section("What failed, and how it went on", failed(told)),
        Section("What was recalled, and what it was used for", recalled(told)),
    ]
    if told.spent:
        sections.insert(-2, Section("Models", models(told)))
    if told.before:
        sections.insert(1, Section(f"Beside round {told.number - 1}", beside(told, told.before)))
    return sections


def done(told: Round) -> list[Block]:
    base, counts = told.training["base"], told.dataset["counts"]
    tiny = "a tiny base model, built on the spot from text that every Python has" if base["kind"] == "embedded" else (
        f"the base model {base['name']}"
    )  # fmt: skip
    families, gpus = told.dataset["families"], told.hardware["gpus"]
    where = f"{gpus[0]['name']} × {len(gpus)}" if gpus else f"{told.hardware['cpus']} CPU cores, no GPU"
    said = [
        f"Goal {told.name}, round {told.number}: {len(told.topics)} topics, {len(told.sources)} sources.",
        f"Teacher: {teacher(told)}.",
        f"Base: {tiny}; {base['parameters']:,} parameters, sha256 {(base['sha256'] or 'kept by its hub')[:15]}.",
        f"Data: {counted(counts)}. Families of facts: {counted(families)}.",
        f"Dropped: {counted(told.dataset['reasons']) or 'nothing'}.",
        f"Exam: sealed by sha256 {told.verdict['exam_sha256'][:12]}…; "
        f"a second scan found {told.dataset['scan']['overlaps']} overlaps with the training rows.",
        f"Hardware: {where}.",
    ]
    if told.told:
        said.append(f"Changed since the last round: {'; '.join(told.told['changes'])}.")
    return [Points(said)]


def teacher(told: Round) -> str:
    """Who wrote the training data."""
    spoke = sorted({model for _, model in told.spent.spoke.get("teacher", ())}) if told.spent else []
    return f"{', '.join(spoke)}, a model, from quoted sources; see Models" if spoke else TEACHER


def counted(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in found.items() if isinstance(value, int))


def costs(told: Round) -> list[Block]:
    rows = [
        [reply["step"], f"{reply['seconds']:.1f}", f"{reply.get('cpu_s', 0.0):.1f}", f"{reply['gpu_s']:.1f}",
         f"{reply['usd']:.4f}", str(1 + len(reply["tries"]))]
        for reply in told.own
    ]  # fmt: skip
    sums = [sum(reply.get(key, 0.0) for reply in told.own) for key in ("seconds", "cpu_s", "gpu_s", "usd")]
    rows.append(["together", *(f"{value:.1f}" for value in sums[:3]), f"{sums[3]:.4f}", ""])
    wasted = sum(one["seconds"] or 0.0 for reply in told.own for one in reply["tries"])
    notes = "Wall seconds of the try that went through. This report and the steps after it are not in the table"
    notes += f"; tries that failed took {wasted:.1f} s more." if wasted else "."
    earlier = [reply for reply in told.replies if reply not in told.own]
    if earlier:
        usd, seconds = (sum(reply[key] for reply in earlier) for key in ("usd", "seconds"))
        notes += f" Earlier rounds: {seconds:.1f} s and {usd:.4f} dollars."
    head = ("step", "seconds", "CPU seconds", "GPU seconds", "dollars", "tries")
    return [Table(head, rows, frozenset(range(1, 6))), Paragraph(notes)]


def failed(told: Round) -> list[Block]:
    rows = [
        [reply["step"], str(one["n"]), one["kind"], one_line(one["message"], 300), repair(one["kind"])]
        for reply in told.own
        for one in reply["tries"]
    ]
    if not rows:
        return [Paragraph("Nothing failed in this round.")]
    return [Table(("step", "try", "kind", "what it said", "how it went on"), rows, frozenset({1}))]


def recalled(told: Round) -> list[Block]:
    if not told.recalled:
        return [Paragraph("The memory held nothing about these topics: nothing was recalled, and nothing used.")]
    slugs = [topic["slug"] for topic in told.topics]
    weighs = {found["id"]: slug for slug, found in _recall.priors(told.recalled, slugs).items()}
    rows = []
    for found in told.recalled[:RECALLED_SHOWN]:
        use = used(found, weighs.get(found["id"]), slugs)
        rows.append([found["kind"], f"{found['run']} r{found['round']}", shorten(found["text"], 200), use])
    more = len(told.recalled) - len(rows)
    blocks: list[Block] = [Table(("kind", "from", "what was learned", "used as"), rows)]
    return [*blocks, Paragraph(f"And {more} more in 00-orient's recalled.json.")] if more else blocks


def used(found: _recall.Observation, weighed: str | None, slugs: Sequence[str]) -> str:
    """What came of a recalled observation in this round."""
    uses = [f"prior of {weighed} when `improve` chooses"] if weighed else []
    if set(found["topics"]) & set(slugs):
        uses.append("told under its topics in 10-research's report.md")
    return "; ".join(uses) or "shown here alone"


def advice(recommendations: Sequence[Recommendation]) -> list[Block]:
    if not recommendations:
        return [Paragraph("No rule has anything to recommend from these figures.")]
    said = [f"{one.text} {one.because} ({one.file}, {one.key} = {one.value})" for one in recommendations]
    return [Points(said, numbered=True)]
