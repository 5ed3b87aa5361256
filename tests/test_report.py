"""Is the report true to its figures, whole as a page, and safe whatever a document or a model wrote?"""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from agents import _config, _recall, improve, report
from agents._agent import Agent
from agents._run import create_run
from agents.pages import charts, page, recommend, results, story
from agents.pages.markup import html
from agents.pages.page import Chart, Pair, Paragraph, Points, Section, Table, markdown
from agents.pages.rounds import Round, learned
from bus import schema
from golden import GOAL, commit, golden

HOSTILE = (
    "<script>alert(1)</script></pre></svg></style></table><img src=http://evil.example/x onerror=alert(2)>"
    "\" onload='x' --> ]]> &lt;b&gt; ```\n```\n# not a heading\n| a | b |\n![i](http://evil.example/i.png) "
    "\x1b[31mred\x1b[0m \u202egnp \ud800 `code` *bold* </title>"
)
VOID = {"meta", "br", "img", "input", "link", "hr"}


def slice_of(verdict, base, specialist, low, high, measure="correctness", n=100):
    loss = {"base": 5.0, "specialist": 4.0, "difference": -1.0, "low": -1.2, "high": -0.8}
    figures = {
        "base": base,
        "specialist": specialist,
        "difference": round(specialist - base, 6),
        "low": low,
        "high": high,
    }
    if measure == "loss":
        loss = dict(figures)
    return {"verdict": verdict, "why": "the 95% interval says so", "measure": measure, "n": n, "moved": 40, **figures,
            "loss": loss}  # fmt: skip


def verdict(**changed):
    slices = {
        "taught": slice_of("better", 0.0, 0.37, 0.30, 0.44, n=200),
        "unseen": slice_of("cannot tell", 0.01, 0.02, -0.01, 0.03, n=60),
        "general": slice_of("worse", 4.64, 5.12, 0.42, 0.55, "loss"),
        "validation": slice_of("cannot tell", 0.01, 0.03, -0.02, 0.05, n=30),
    }
    document = {"schema": "verdict.v1", "slices": slices | changed, "exam_sha256": "ab" * 32}
    return schema.check(document, "verdict.v1")


def reply(step, seconds, tries=(), round=1):
    return {"schema": "reply.v1", "id": f"r{round}", "step": step, "seconds": seconds, "cpu_s": seconds * 1.5,
            "usd": 0.0, "gpu_s": 0.0, "tries": list(tries)}  # fmt: skip


def told(text="torch.cuda.empty_cache", **changed):
    """A round whose every foreign text is `text`."""
    topics = [{"slug": f"topic-{n}", "title": text} for n in range(4)]
    answers, scores = [], []
    for name in ("taught", "unseen", "validation"):
        for n in range(12):
            said = {"base": {"text": "the the", "loss": 7.0}, "specialist": {"text": text, "loss": 1.0}}
            item, topic = f"{name}-{n}", f"topic-{n % 4}"
            answers.append({"schema": "answer.v1", "item": item, "slice": name, "topic": topic, "question": text,
                            "reference": text, **said})  # fmt: skip
            right = float(n % 4 == 3 and name != "unseen")
            row = {"schema": "score.v1", "item": item, "slice": name, "topic": topic, "short": True}
            scores.append({**row, "measure": "exact", "base": 0.0, "specialist": right})
            scores.append({**row, "measure": "loss", "base": 7.0, "specialist": 1.0})
    crash = {"n": 1, "kind": "error", "message": text, "seconds": 2.5}
    result = {"topic": "topic-0", "score": 0.5, "n": 4}
    known = Round(
        name="gpu-ops",
        number=1,
        seed=7,
        topics=topics,
        sources=[{"id": "a"}],
        dataset=golden("dataset.v1", reasons={"near-duplicate": 500, "held-out": 900}),
        training=golden("training.v1", base={**golden("training.v1")["base"], "name": text}),
        metrics=[{"step": n, "loss": 8.0 / (1 + n / 40) + (n % 7) / 10} for n in range(1, 391)],
        hardware={"cpus": 2, "gpus": []},
        recalled=[_recall.observation("result", "other", 2, ["topic-0"], text, result),
                  _recall.observation("fix", "other", 1, [], text, {})],
        answers=answers,
        scores=scores,
        verdict=verdict(),
        before=None,
        told=None,
        replies=[reply("10-research", 1.5), reply("50-train", 80.0, [crash])],
    )  # fmt: skip
    return dataclasses.replace(known, **changed)


def figures(round):
    return recommend.Figures(round.verdict, round.dataset, round.metrics, round.scores, round.own)


def pages(round):
    found = recommend.recommend(figures(round))
    sections = story.tell(round, found)
    return markdown("gpu-ops, round 1", sections), html("gpu-ops, round 1", sections), sections


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside of the style sheet; tags must nest."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def test_hostile_text_adds_no_tag_and_no_attribute():
    _, plain_page, _ = pages(told("plain words"))
    _, hostile_page, _ = pages(told(HOSTILE))
    plain, hostile = Tags(plain_page), Tags(hostile_page)
    assert hostile.open == [] and plain.open == []
    assert hostile.tags == plain.tags
    assert [one[:2] for one in hostile.attributes] == [one[:2] for one in plain.attributes]
    assert {"script", "img", "iframe", "link"}.isdisjoint(hostile.tags)
    assert not [one for one in hostile.attributes if one[1].startswith("on") or one[1] in ("src", "href", "style")]
    assert "<script>alert(1)</script>" in hostile.text  # shown, not run


def test_the_page_fetches_nothing_and_has_no_control_characters():
    text, page, _ = pages(told(HOSTILE))
    assert "http" not in page.replace(HOSTILE, "").replace("http://evil.example", "").replace("http-equiv", "")
    assert "url(" not in page and "@import" not in page
    assert "default-src &#x27;none&#x27;" in page
    for made in (text, page):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", made)
        made.encode("utf-8")


def test_hostile_text_stays_text_in_markdown():
    lines, fence = [], ""
    for line in pages(told(HOSTILE))[0].splitlines():  # what a Markdown reader sees outside of code blocks
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            lines.append(line)
    assert fence == ""
    outside = "\n".join(lines)
    assert not re.search(r"(?<!\\)<", outside)
    assert not re.search(r"(?<!\\)!?\[[^\]]*\]\(", outside.replace("\\[", "\\"))
    assert [line for line in lines if line.startswith("# ")] == ["# gpu-ops, round 1"]
    for table in re.findall(r"(?:^\|.*\n?)+", outside, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_a_fence_is_longer_than_any_in_the_text():
    block = page.fenced("a\n````\nb\n```")
    assert block.startswith("`````text\n") and block.endswith("\n`````")


def test_markdown_leaves_ordinary_names_readable():
    assert page.inline("torch.cuda.memory_allocated returns -1, 50% of n * 2") == (
        "torch.cuda.memory_allocated returns -1, 50% of n \\* 2"
    )
    assert page.line("- 1. x") == "\\- 1. x" and page.line("1. x") == "1\\. x" and page.line("1.5 s") == "1.5 s"


def drawings(sections):
    return [block.svg for section in sections for block in section.blocks if isinstance(block, Chart)]


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_drawings_are_well_formed_and_stay_inside_their_box(text):
    svgs = drawings(pages(told(text))[2])
    assert len(svgs) == 4
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        _, _, width, height = map(float, root.get("viewBox").split())
        assert root.find("title").text
        for one in root.iter("rect"):
            x = float(one.get("x"))
            assert x >= 0 and x + float(one.get("width")) <= width
            assert 0 <= float(one.get("y")) <= height
        for one in root.iter("polyline"):
            for point in one.get("points").split():
                x, y = map(float, point.split(","))
                assert charts.LEFT <= x <= width and 0 <= y <= height - charts.BOTTOM + 0.1
    hostile = ElementTree.fromstring(charts.intervals([charts.Bar(HOSTILE, 1, 0, 2, "better", "+1")], HOSTILE, HOSTILE))
    assert [one.tag for one in hostile.iter()].count("script") == 0


def test_bars_are_as_long_as_their_values():
    root = ElementTree.fromstring(charts.pairs([("taught", 0.25, 0.5)], "t", "x"))
    base, specialist = (float(one.get("width")) for one in root.iter("rect"))
    assert specialist == pytest.approx(2 * base, abs=0.11)
    root = ElementTree.fromstring(charts.intervals([charts.Bar("general", -0.5, -0.75, 0.5, "unsure", "")], "t", "x"))
    zero = next(one for one in root.iter("line") if one.get("class") == "zero")
    bar = next(root.iter("rect"))
    assert float(bar.get("x")) + float(bar.get("width")) == pytest.approx(float(zero.get("x1")), abs=0.11)  # left of 0
    whisker = next(one for one in root.iter("line") if one.get("class") == "whisker")
    assert float(whisker.get("x1")) < float(bar.get("x")) and float(whisker.get("x2")) > float(zero.get("x1"))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.013, 0.41), (3.2, 8.9), (0, 0), (-250, 12), (1e-7, 3e-7)])
def test_ticks_are_round_and_enclose(low, high):
    found = charts.ticks(low, high)
    assert found[0] <= low + 1e-9 and found[-1] >= high - 1e-9 and 3 <= len(found) <= 9


def test_one_logged_step_still_draws():
    ElementTree.fromstring(charts.curve([(1.0, 3.0)], "loss", "step"))


def test_every_slice_has_its_figures_and_there_is_no_overall_word():
    text, page, _ = pages(told())
    assert "| taught | better | correctness | 200 | 0.000 | 0.370 | +0.370 | +0.300 to +0.440 |" in text
    assert "| general | worse | loss | 100 | 4.640 | 5.120 | +0.480 | +0.420 to +0.550 |" in text
    assert 'class="worse">worse</td>' in page and 'class="unsure">cannot tell</td>' in page
    assert "embedded extractive teacher" in text and "tiny base model" in text


def test_costs_add_up_and_failed_tries_are_told():
    text, _, _ = pages(told("CUDA error"))
    assert "| together | 81.5 | 122.2 | 0.0 | 0.0000 |  |" in text
    assert "tries that failed took 2.5 s more" in text
    assert "| 50-train | 1 | error | CUDA error | tried again, and it went through |" in text
    assert "Nothing failed in this round." in pages(told(replies=[reply("10-research", 1.0)]))[0]


def test_examples_show_a_failure_and_a_success_where_there_are_both():
    for seed in range(20):
        blocks = results.examples(told(seed=seed))
        taught = [one for one in blocks if isinstance(one, Pair) and one.label == "taught"]
        scores = {said[1][2].partition(",")[0] for said in (one.answers for one in taught)}
        assert len(taught) == results.EXAMPLES and scores == {"exact match 0.00", "exact match 1.00"}
        assert not [one for one in blocks if isinstance(one, Pair) and one.label == "validation"]
    assert results.examples(told(seed=1)) == results.examples(told(seed=1))


def test_what_was_recalled_is_said_with_its_use():
    text, _, _ = pages(told("slow"))
    uses = "prior of topic-0 when \\`improve\\` chooses; told under its topics in 10-research's report.md"
    assert f"| slow | {uses} |" in text
    assert "| fix | other r1 | slow | shown here alone |" in text
    assert "nothing was recalled" in pages(told(recalled=[]))[0]


def test_rounds_are_compared_on_the_same_exam_only():
    before = verdict(taught=slice_of("better", 0.0, 0.30, 0.2, 0.4))
    changes = {"changes": ["375 more pairs"]}
    text, _, _ = pages(told(number=2, before=before, told=changes, replies=[reply("50-train", 60.0, round=1)]))
    assert "## Beside round 1" in text and "| taught | better | better | 0.300 | 0.370 | +0.070 |" in text
    assert "375 more pairs" in text and "Earlier rounds: 60.0 s" in text
    other = dict(before, exam_sha256="ef" * 32)
    assert "cannot be compared" in pages(told(number=2, before=other))[0]


def test_recommendations_come_from_figures_that_are_there():
    round = told()
    found = recommend.recommend(figures(round))
    document = {"schema": "recommendations.v1", "items": [one.document(n) for n, one in enumerate(found, 1)]}
    schema.check(document, "recommendations.v1")
    sources = {"60-evaluate/verdict.json": round.verdict, "40-filter/dataset.json": round.dataset}
    checked = 0
    for one in found:
        if one.file in sources:
            value = sources[one.file]
            for key in one.key.split("."):
                value = value[key]
            assert value == one.value
            checked += 1
    assert checked >= 4
    assert {one.key for one in found} >= {"slices.taught.specialist", "slices.unseen.difference",
                                          "slices.general.difference", "reasons.near-duplicate"}  # fmt: skip
    weak = next(one for one in found if one.file == "60-evaluate/scores.jsonl")
    assert weak.value == 0.0 and weak.topics == ["topic-0", "topic-1", "topic-2"]


def test_rules_are_silent_when_nothing_is_wrong():
    fine = told(
        verdict=verdict(
            taught=slice_of("better", 0.0, 0.9, 0.8, 0.95),
            unseen=slice_of("cannot tell", 0.0, 0.0, 0.0, 0.0),
            general=slice_of("cannot tell", 4.6, 4.6, -0.1, 0.1, "loss"),
        ),
        dataset={"counts": {"examples": 100}, "reasons": {"spare-wording": 90}},
        metrics=[{"step": n, "loss": 1.0} for n in range(40)],
        scores=[],
        replies=[reply("50-train", 9.0, [{"n": 1, "kind": "death", "message": "ended", "seconds": 1.0}])],
    )
    found = recommend.recommend(figures(fine))
    assert [one.key for one in found] == ["slices.unseen.difference"]  # taught moved, unseen did not: always said


def test_a_loss_that_still_falls_and_an_undecided_slice_are_noticed():
    falling = [{"step": n, "loss": 10.0 - n / 10} for n in range(80)]
    kept = verdict(general=slice_of("cannot tell", 4.6, 4.6, -0.1, 0.1, "loss"))
    said = recommend.settled(figures(told(metrics=falling, verdict=kept)))
    assert recommend.settled(figures(told(metrics=falling))) == []  # general language is being lost already
    assert said[0].value == pytest.approx(sum(10.0 - n / 10 for n in range(60, 80)) / 20)
    close = verdict(unseen=slice_of("cannot tell", 0.0, 0.05, -0.05, 0.15, n=60))
    assert "240 unseen items" in recommend.undecided(figures(told(verdict=close)))[0].text
    far = verdict(unseen=slice_of("cannot tell", 0.0, 0.001, -0.1, 0.1, n=60))
    assert recommend.undecided(figures(told(verdict=far))) == []


def test_the_memory_is_told_the_same_twice_and_every_note_follows_the_schema():
    round = told("broke")
    found = recommend.recommend(figures(round))
    notes = learned(round, found)
    for note in notes:
        assert _recall.check(note) == note
    slower = [dict(one, seconds=one["seconds"] * 3) for one in round.replies]
    assert learned(dataclasses.replace(round, replies=slower), found) == notes
    assert {note["kind"] for note in notes} == {"result", "failure", "fix", "recommendation"}
    assert {note["data"].get("topic") for note in notes} >= {"topic-0", "topic-3"}


def test_an_empty_page_and_every_block_render():
    blocks = [Paragraph("p"), Points(["a"], numbered=True), Points([]), Table(("h",), [("c",)], frozenset({0})),
              Chart("<svg></svg>", "says"), Pair("l", "q", "r", [("base", "", "0")])]  # fmt: skip
    page = Tags(html("t", [Section("s", blocks)]))
    assert page.open == [] and "(nothing)" in page.text
    assert "1. a" in markdown("t", [Section("s", blocks)])


@pytest.fixture
def measured(tmp_path):
    """A run up to its report, made of the golden examples."""
    config = _config.load()
    run = create_run(tmp_path / "gpu-ops", GOAL, 1, config.flow, config.services, "2")
    round = told()
    commit(run, "00-orient", {f"{name}.json": golden(f"{name}.v1") for name in ("state", "hardware", "recalled")})
    commit(run, "10-research", {"topics.json": golden("topics.v1"), "report.md": {}})
    commit(run, "20-collect", {"sources.jsonl": [golden("source.v1")]})
    commit(run, "30-generate", {"examples.jsonl": []})
    commit(run, "40-filter", {"dataset.json": golden("dataset.v1")})
    metrics = [golden("metric.v1", step=n, loss=5 / n) for n in range(1, 30)]
    commit(run, "50-train", {"training.json": golden("training.v1"), "metrics.jsonl": metrics})
    commit(run, "60-evaluate", {"answers.jsonl": round.answers, "scores.jsonl": round.scores,
                                "verdict.json": round.verdict})  # fmt: skip
    return run, config


def test_report_and_improve_answer_a_real_request(measured):
    run, config = measured
    run.advance()
    assert Agent(report.report, run, "70-report", config, loud=False).once() == 0
    folder = run.folder / "70-report" / "outbox" / "r1"
    assert Tags((folder / "report.html").read_text()).open == []
    assert (folder / "report.md").read_text().startswith("# gpu-ops, round 1\n")
    items = json.loads((folder / "recommendations.json").read_text())["items"]
    told_memory = [json.loads(path.read_bytes()) for path in (run.folder / "memory" / "inbox").glob("*.json")]
    assert {note["kind"] for note in told_memory} == {"result", "recommendation"}
    assert Agent(improve.improve, run, "80-improve", config, loud=False).once() == 0
    plan = json.loads((run.folder / "80-improve" / "outbox" / "r1" / "next.json").read_text())
    assert plan["examples"] == 250 and plan["left_to_people"] == [item["text"] for item in items]
    assert str(run.folder) not in "".join(path.read_text() for path in run.folder.glob("*/outbox/r1/*"))
