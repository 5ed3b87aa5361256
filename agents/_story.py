"""Tell a round as sections of a page, and as observations for the memory. Pure: documents in, sections out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents import _charts, _recall
from agents._page import Block, Chart, Pair, Paragraph, Points, Section, Table, shorten
from agents._recommend import Recommendation, one_line, topic_means
from agents._statistics import rng

SLICES = ("taught", "unseen", "general", "validation")
MEANS = {
    "taught": "facts that were trained on, asked in wordings that were not",
    "unseen": "facts that were never trained on",
    "general": "loss on held-out general text",
    "validation": "facts set aside to choose what the next round strengthens; no part of the verdict",
}
TEACHER = "the embedded extractive teacher: every pair is cut from the sources with its spans, no model wrote any of it"
EXAMPLES = 4  # per slice: enough to see what sort of answer it is, few enough to be read
RECALLED_SHOWN = 15
RIGHT = 0.5  # adjusted F1 from which an example counts as right when successes and failures are picked


@dataclass(frozen=True)
class Round:
    """The documents that a report tells of; `before` and `told` are the last round's verdict and next.json, or None."""

    name: str
    number: int
    seed: int
    topics: Sequence[Mapping[str, Any]]
    sources: Sequence[Mapping[str, Any]]
    dataset: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    hardware: Mapping[str, Any]
    recalled: Sequence[_recall.Observation]
    answers: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    verdict: Mapping[str, Any]
    before: Mapping[str, Any] | None
    told: Mapping[str, Any] | None
    replies: Sequence[Mapping[str, Any]]

    @property
    def own(self) -> list[Mapping[str, Any]]:
        """The replies of this round."""
        return [reply for reply in self.replies if reply["id"] == f"r{self.number}"]


def tell(told: Round, recommendations: Sequence[Recommendation]) -> list[Section]:
    """The whole report."""
    sections = [
        Section("Is it better?", [*outcome(told)]),
        Section("What was done", done(told)),
        Section("Recommendations", advice(recommendations)),
        Section("Training", training(told)),
        Section("Base and specialist, side by side", examples(told)),
        Section("What it cost", costs(told)),
        Section("What failed, and how it went on", failed(told)),
        Section("What was recalled, and what it was used for", recalled(told)),
    ]
    if told.before:
        sections.insert(1, Section(f"Beside round {told.number - 1}", beside(told, told.before)))
    return sections


def outcome(told: Round) -> list[Block]:
    """The verdicts in words, as a table and as drawings."""
    slices = told.verdict["slices"]
    shown = [name for name in SLICES if name in slices]
    rows = []
    for name in shown:
        found = slices[name]
        what = "loss" if found["measure"] == "loss" else "correctness"
        rows.append([name, found["verdict"], what, str(found["n"]), *figures_of(found)])
    head = ("slice", "verdict", "measure", "items", "base", "specialist", "difference", "95% interval")
    blocks: list[Block] = [
        Paragraph("Each slice answers a question of its own, and there is no overall word for them."),
        Table(head, rows, frozenset(range(3, 8))),
        Points([f"{name}: {MEANS[name]}. {slices[name]['verdict']}, because {slices[name]['why']}." for name in shown]),
    ]
    correct = [name for name in shown if slices[name]["measure"] == "correctness"]
    title = "Correctness of base (upper bar) and specialist (lower bar); 1 is everything right"
    pairs = [(name, slices[name]["base"], slices[name]["specialist"]) for name in correct]
    blocks.append(Chart(_charts.pairs(pairs, title, "correctness"), f"{title}."))
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
        bars.append(_charts.Bar(name, found["difference"], found["low"], found["high"], tone, f"{found['difference']:+.2f}"))
    return _charts.intervals(bars, title, "nats per token" if loss else "correctness")


def loss_words(slices: Mapping[str, Any], names: Sequence[str]) -> str:
    said = [f"{name} {slices[name]['loss']['base']:.2f} → {slices[name]['loss']['specialist']:.2f}" for name in names]
    return f"Base → specialist: {', '.join(said)}."


def done(told: Round) -> list[Block]:
    base, counts = told.training["base"], told.dataset["counts"]
    tiny = "a tiny base model, built on the spot from text that every Python has" if base["kind"] == "embedded" else (
        f"the base model {base['name']}"
    )  # fmt: skip
    families, gpus = told.dataset["families"], told.hardware["gpus"]
    where = f"{gpus[0]['name']} × {len(gpus)}" if gpus else f"{told.hardware['cpus']} CPU cores, no GPU"
    said = [
        f"Goal {told.name}, round {told.number}: {len(told.topics)} topics, {len(told.sources)} sources.",
        f"Teacher: {TEACHER}.",
        f"Base: {tiny}; {base['parameters']:,} parameters, sha256 {base['sha256'][:12]}….",
        f"Data: {counted(counts)}. Families of facts: {counted(families)}.",
        f"Dropped: {counted(told.dataset['reasons']) or 'nothing'}.",
        f"Exam: sealed by sha256 {told.verdict['exam_sha256'][:12]}…; "
        f"a second scan found {told.dataset['scan']['overlaps']} overlaps with the training rows.",
        f"Hardware: {where}.",
    ]
    if told.told:
        said.append(f"Changed since the last round: {'; '.join(told.told['changes'])}.")
    return [Points(said)]


def counted(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in found.items() if isinstance(value, int))


def training(told: Round) -> list[Block]:
    found = told.training
    settings = ", ".join(f"{key} {value}" for key, value in found["settings"].items())
    said = (
        f"{found['method']}: {found['rows']:,} rows, {found['epochs']:g} epochs, {found['steps']:,} steps, "
        f"{found['tokens']:,} tokens, {found['trainable_parameters']:,} trained parameters, on {found['device']}, "
        f"in {found['seconds']:.0f} s. Final loss {found['final_loss']:.3f}."
    )
    again = f" It went on from step {found['resumed_from']} after a stop." if found["resumed_from"] else ""
    blocks: list[Block] = [Paragraph(said + again), Paragraph(f"Settings: {settings}.")]
    points = [(float(row["step"]), float(row["loss"])) for row in told.metrics]
    if points:
        title = f"Training loss from {points[0][1]:.2f} to {points[-1][1]:.2f} over {len(points)} logged steps"
        blocks.append(Chart(_charts.curve(points, title, "step"), f"{title}; faint as logged, strong as smoothed."))
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
    answers = [
        (who, row[who]["text"], f"{measure} {score[who]:.2f}, loss {row[who]['loss']:.2f}") for who in ("base", "specialist")
    ]
    return Pair(row["slice"], row.get("question", ""), row.get("reference", ""), answers)


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


def repair(kind: str) -> str:
    """How a failed try was answered, as far as its kind says."""
    said = {
        "death": "its agent was ended and started again; the next try went on with what was kept",
        "stopped": "it was asked to stop; the next try went on with what was kept",
        "disk": "it waited for room on the disk",
        "repaired": "a verified patch, then the next try",
    }
    return said.get(kind, "tried again, and it went through")


def recalled(told: Round) -> list[Block]:
    if not told.recalled:
        return [Paragraph("The memory held nothing about these topics: nothing was recalled, and nothing used.")]
    slugs = [topic["slug"] for topic in told.topics]
    weighs = {found["id"]: slug for slug, found in _recall.priors(told.recalled, slugs).items()}
    rows = []
    for found in told.recalled[:RECALLED_SHOWN]:
        use = f"prior of {weighs[found['id']]} when `improve` chooses" if found["id"] in weighs else "shown here alone"
        rows.append([found["kind"], f"{found['run']} r{found['round']}", shorten(found["text"], 200), use])
    more = len(told.recalled) - len(rows)
    blocks: list[Block] = [Table(("kind", "from", "what was learned", "used as"), rows)]
    return [*blocks, Paragraph(f"And {more} more in 00-orient's recalled.json.")] if more else blocks


def beside(told: Round, before: Mapping[str, Any]) -> list[Block]:
    """The specialist of this round beside the one of the last, on the same sealed exam."""
    if before["exam_sha256"] != told.verdict["exam_sha256"]:
        return [Paragraph("The exam is not the one of the last round, so the two cannot be compared.")]
    rows = []
    for name in SLICES:
        then, now = before["slices"].get(name), told.verdict["slices"].get(name)
        if then and now:
            change = f"{now['specialist'] - then['specialist']:+.3f}"
            rows.append([name, then["verdict"], now["verdict"], f"{then['specialist']:.3f}", f"{now['specialist']:.3f}", change])
    head = ("slice", f"r{told.number - 1}", f"r{told.number}", "specialist then", "specialist now", "change")
    note = "The exam is the same. The change has no interval: it compares two trainings, each a single one."
    return [Table(head, rows, frozenset({3, 4, 5})), Paragraph(note)]


def advice(recommendations: Sequence[Recommendation]) -> list[Block]:
    if not recommendations:
        return [Paragraph("No rule has anything to recommend from these figures.")]
    said = [f"{one.text} {one.because} ({one.file}, {one.key} = {one.value})" for one in recommendations]
    return [Points(said, numbered=True)]


def learned(told: Round, recommendations: Sequence[Recommendation]) -> list[_recall.Observation]:
    """What the memory should keep. No seconds and no try numbers: telling again must be telling the same."""
    slugs = [topic["slug"] for topic in told.topics]

    def note(kind: str, topics: Sequence[str], text: str, data: dict[str, Any]) -> _recall.Observation:
        return _recall.observation(kind, told.name, told.number, topics, text, data)

    notes = []
    for name, found in told.verdict["slices"].items():
        text = f"{name}: {found['verdict']}; {found['measure']} {found['base']:.3f} → {found['specialist']:.3f}, n = {found['n']}"
        keys = ("verdict", "measure", "n", "base", "specialist", "difference", "low", "high")
        notes.append(note("result", slugs, text, {"slice": name, **{key: found[key] for key in keys}}))
    for score, topic, n in topic_means(told.scores):
        text = f"{topic} scores {score:.2f} over {n} validation items"
        notes.append(note("result", [topic], text, {"topic": topic, "score": score, "n": n}))
    for reply in told.own:
        for kind, message in sorted({(one["kind"], one_line(one["message"])) for one in reply["tries"]}):
            data = {"step": reply["step"], "failure": kind}
            notes.append(note("failure", [], f"{reply['step']} failed: {message}", data))
            notes.append(note("fix", [], f"{reply['step']}, after {message}: {repair(kind)}", data))
    for number, one in enumerate(recommendations, 1):
        notes.append(note("recommendation", one.topics, f"{one.text} {one.because}", one.document(number)["figure"]))
    return notes
