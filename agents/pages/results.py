"""Tell what a round measured: verdicts, training and examples, as blocks of a page. Pure: documents in, blocks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents._statistics import rng
from agents.pages import charts
from agents.pages.page import Block, Chart, Pair, Paragraph, Points, Table
from agents.pages.rounds import SLICES, Round

MEANS = {
    "taught": "facts that were trained on, asked in wordings that were not",
    "unseen": "facts that were never trained on",
    "general": "loss on held-out general text",
    "validation": "facts set aside to choose what the next round strengthens",
}
EXAMPLES = 4  # per slice: enough to see what sort of answer it is, few enough to be read
RIGHT = 0.5  # adjusted F1 from which an example counts as right when successes and failures are picked


def outcome(told: Round) -> list[Block]:
    """The verdicts in words, as a table and as drawings."""
    slices = told.verdict["slices"]
    listed = [(name, slices[name]) for name in SLICES if name in slices]
    shown = [name for name, _ in listed]
    rows = []
    for name, found in listed:
        what = "loss" if found["measure"] == "loss" else "correctness"
        rows.append([name, found["verdict"], what, str(found["n"]), *figures_of(found)])
    head = ("slice", "verdict", "measure", "items", "base", "specialist", "difference", "95% interval")
    blocks: list[Block] = [
        Paragraph("Each slice answers a question of its own, and there is no overall word for them."),
        Table(head, rows, frozenset(range(3, 8))),
        Points([f"{name} ({MEANS[name]}): {found['verdict']}, because {found['why']}." for name, found in listed]),
    ]
    correct = [name for name in shown if slices[name]["measure"] == "correctness"]
    title = "Correctness of base (upper bar) and specialist (lower bar); 1 is everything right"
    pairs = [(name, slices[name]["base"], slices[name]["specialist"]) for name in correct]
    blocks.append(Chart(charts.pairs(pairs, title, "correctness"), f"{title}."))
    title = "Change in correctness from base to specialist, with 95% intervals; right of 0 is better"
    blocks.append(Chart(differences(slices, correct, loss=False, title=title), f"{title}."))
    title = "Change in held-out loss, nats per token, with 95% intervals; left of 0 is better"
    blocks.append(Chart(differences(slices, shown, loss=True, title=title), f"{title}. {loss_words(slices, shown)}"))
    return blocks


def figures_of(found: Mapping[str, Any]) -> list[str]:
    low, high = f"{found['low']:+.3f}", f"{found['high']:+.3f}"
    return [f"{found['base']:.3f}", f"{found['specialist']:.3f}", f"{found['difference']:+.3f}", f"{low} to {high}"]


def differences(slices: Mapping[str, Any], names: Sequence[str], loss: bool, title: str) -> str:
    bars = []
    for name in names:
        found = slices[name]["loss"] if loss else slices[name]
        better = (found["low"] > 0) != loss
        tone = "unsure" if found["low"] <= 0 <= found["high"] else "better" if better else "worse"
        if not loss:
            tone = {"cannot tell": "unsure"}.get(slices[name]["verdict"], slices[name]["verdict"])
        says = f"{found['difference']:+.2f}"
        bars.append(charts.Bar(name, found["difference"], found["low"], found["high"], tone, says))
    return charts.intervals(bars, title, "nats per token" if loss else "correctness")


def loss_words(slices: Mapping[str, Any], names: Sequence[str]) -> str:
    said = [f"{name} {slices[name]['loss']['base']:.2f} → {slices[name]['loss']['specialist']:.2f}" for name in names]
    return f"Base → specialist: {', '.join(said)}."


def beside(told: Round, before: Mapping[str, Any]) -> list[Block]:
    """The specialist of this round beside the one of the last, on the same sealed exam."""
    if before["exam_sha256"] != told.verdict["exam_sha256"]:
        return [Paragraph("The exam is not the one of the last round, so the two cannot be compared.")]
    rows = []
    for name in SLICES:
        then, now = before["slices"].get(name), told.verdict["slices"].get(name)
        if then and now:
            change = f"{now['specialist'] - then['specialist']:+.3f}"
            scores = [f"{one['specialist']:.3f}" for one in (then, now)]
            rows.append([name, then["verdict"], now["verdict"], *scores, change])
    head = ("slice", f"r{told.number - 1}", f"r{told.number}", "specialist then", "specialist now", "change")
    note = "The exam is the same. The change has no interval: it compares two trainings, each a single one."
    return [Table(head, rows, frozenset({3, 4, 5})), Paragraph(note)]


def training(told: Round) -> list[Block]:
    found = told.training
    settings = ", ".join(f"{key} {value}" for key, value in found["settings"].items() if value is not None)
    said = (
        f"{found['method']}: {found['rows']:,} rows, {found['epochs']:g} epochs, {found['steps']:,} steps, "
        f"{found['tokens']:,} tokens, {found['trainable_parameters']:,} trained parameters, on {found['device']}, "
        f"in {found['seconds']:.0f} s. Final loss {found['final_loss']:.3f}."
    )
    again = f" It went on from {found['resumed_from']} after a stop." if found["resumed_from"] else ""
    blocks: list[Block] = [Paragraph(said + again), Paragraph(f"Settings: {settings}.")]
    points = [(float(row["step"]), float(row["loss"])) for row in told.metrics]
    if points:
        title = f"Training loss from {points[0][1]:.2f} to {points[-1][1]:.2f} over {len(points)} logged steps"
        blocks.append(Chart(charts.curve(points, title, "step"), f"{title}; faint as logged, strong as smoothed."))
    return blocks


def examples(told: Round) -> list[Block]:
    """Seeded picks of taught and unseen, at least one right and one wrong where there are both."""
    correct = {row["item"]: row for row in told.scores if row["measure"] != "loss"}
    blocks: list[Block] = [
        Paragraph("Drawn by the run's seed; where a slice has both, at least one right and one wrong answer is shown.")
    ]
    for name in ("taught", "unseen"):
        rows = [row for row in told.answers if row["slice"] == name]
        right = {row["item"] for row in rows if correct[row["item"]]["specialist"] >= RIGHT}
        blocks += [pair(row, correct[row["item"]]) for row in pick(rows, right, told.seed, name)]
    return blocks


def pick(rows: Sequence[Mapping[str, Any]], right: set[str], seed: int, name: str) -> list[Mapping[str, Any]]:
    order = rng(seed, "examples", name).sample(list(rows), len(rows))
    chosen = order[:EXAMPLES]
    for wanted in (True, False):  # the last one gives way to a kind of answer that chance left out
        if not any((row["item"] in right) == wanted for row in chosen):
            chosen[-1:] = [row for row in order if (row["item"] in right) == wanted][:1] or chosen[-1:]
    return chosen


def pair(row: Mapping[str, Any], score: Mapping[str, Any]) -> Pair:
    measure = "exact match" if score["measure"] == "exact" else "adjusted F1"
    answers = []
    for who in ("base", "specialist"):
        answers.append((who, row[who]["text"], f"{measure} {score[who]:.2f}, loss {row[who]['loss']:.2f}"))
    return Pair(row["slice"], row.get("question", ""), row.get("reference", ""), answers)
