"""The extractive teacher on real documentation: spans, shares, families, wordings, and what later rounds may change."""

import json
from collections import Counter, defaultdict

import pytest

from agents import _config
from agents._agent import DONE, GAVE_UP, Agent
from agents._run import create_run
from agents.exam.near import grams, similar, words
from agents.exam.overlap import scan
from agents.exam.quality import screen
from agents.exam.rules import first_exam
from agents.generate import facts_of, first, generate, lacking
from agents.sources.reader import Reader, identify, source_row
from agents.teacher.blocks import read
from agents.teacher.fact import Fact, checked
from agents.teacher.later import extended
from agents.teacher.mixture import mixed
from agents.teacher.pair import Pair
from agents.teacher.scale import KINDS, Scale
from agents.teacher.templates import templates
from agents.teacher.wording import MOST_WORDINGS
from bus import files, schema
from tests.habits import STOCK
from tests.habits import pairs as habitual
from tests.planted import passages, world, written

SPECS = ["pydoc:subprocess", "pydoc:threading", "pydoc:asyncio", "pydoc:logging", "pydoc:os", "pydoc:shutil"]
SPECS += ["catalogue:errno", "catalogue:signal", "catalogue:nvml"]
TOPICS = [
    {
        "slug": "processes",
        "title": "Processes",
        "why": "",
        "keywords": ["process", "subprocess", "signal"],
        "sources": [],
    },
    {"slug": "files", "title": "Files", "why": "", "keywords": ["file", "directory", "path"], "sources": []},
    {"slug": "threads", "title": "Threads", "why": "", "keywords": ["thread", "lock", "task"], "sources": []},
]
SMALL = Scale(families=200, fewest=150, of_a_kind=20)


@pytest.fixture(scope="module")
def collected():
    """(source.v1 rows, {id: text}) of documentation that is installed wherever these tests run."""
    reader, names = Reader(SPECS, []), identify(SPECS)
    read_in = {names[spec]: reader.read(spec) for spec in SPECS}
    rows = [source_row(name, source, []) for name, source in read_in.items()]
    return rows, {name: source.text for name, source in read_in.items()}


@pytest.fixture(scope="module")
def facts(collected):
    return facts_of(collected[0], collected[1], TOPICS)


@pytest.fixture(scope="module")
def listed(collected):
    return frozenset(row["id"] for row in collected[0] if row["origin"] in ("catalogue:errno", "catalogue:signal"))


@pytest.fixture(scope="module")
def examples(facts, listed):
    return first(facts, listed, 900, 3, SMALL)


def test_blocks_know_where_their_pieces_stand(collected):
    for text in collected[1].values():
        for block in read(text):
            for piece in [block.name, *block.pieces, *(piece.inside() for piece in block.pieces)]:
                assert text[piece.start : piece.end] == piece.text


def test_every_answer_stands_in_its_spans(collected, facts, examples):
    _, texts = collected
    assert len(facts) > 1000 and all(checked(fact, texts) for fact in facts)
    for example in examples:
        parts = [texts[span["source"]][span["start"] : span["end"]] for span in example["spans"]]
        assert words(" ".join(parts)) == words(example["answer"])
        assert len(parts) > 1 or parts[0] == example["answer"]


def test_a_shifted_span_is_found_out(collected, facts):
    fact = next(fact for fact in facts if fact.shape == "summary")
    ((source, start, end),) = fact.spans
    assert not checked(Fact(fact.shape, fact.slots, fact.answer, ((source, start + 1, end + 1),)), collected[1])


def test_rows_follow_their_schema_and_say_what_they_are(examples):
    for example in examples:
        schema.check(example, "example.v1")
        assert example["short"] == (len(example["answer"].split()) <= 6)
        assert example["template"].startswith(example["kind"])
    assert len({example["id"] for example in examples}) == len(examples)
    assert len({example["question"] for example in examples}) == len(examples)


def test_shares_of_a_data_set(examples, listed):
    kinds = Counter(example["kind"] for example in examples)
    assert all(kinds[kind] >= 20 for kind in KINDS)
    families = Counter(example["family"] for example in examples)
    assert len(families) >= 200 and max(families.values()) <= MOST_WORDINGS
    from_lists = sum(any(span["source"] in listed for span in example["spans"]) for example in examples)
    assert from_lists <= 0.4 * len(examples)
    assert 0.55 <= sum(example["short"] for example in examples) / len(examples) <= 0.9
    assert {example["topic"] for example in examples} == {topic["slug"] for topic in TOPICS}


def test_each_family_has_one_exam_wording_whose_answer_is_taught(examples):
    families = defaultdict(list)
    for example in examples:
        families[example["family"]].append(example)
    for own in families.values():
        (exam,) = [example for example in own if example["use"] == "exam"]
        assert exam["answer"] in {example["answer"] for example in own if example["use"] == "teach"}


def test_no_exam_question_is_nearly_a_teach_question(examples):
    asked = {use: defaultdict(list) for use in ("teach", "exam")}
    for example in examples:
        asked[example["use"]][example["family"]].append(words(example["question"]))
    for family, exams in asked["exam"].items():
        assert not any(similar(exam, teach) for exam in exams for teach in asked["teach"][family]), exams


def test_the_filter_keeps_nearly_all_of_them(examples, collected):
    kept, _ = screen(examples, collected[1])
    assert len(kept) >= 0.98 * len(examples)


def test_the_same_again_is_the_same_and_another_seed_is_not(facts, listed, examples):
    assert first(list(reversed(facts)), listed, 900, 3, SMALL) == examples
    assert first(facts, listed, 900, 4, SMALL) != examples


def test_a_comparison_merges_the_families_of_what_it_compares(facts, examples):
    owners = {example["answer"]: example["family"] for example in examples}
    met = 0
    for example in examples:
        if example["template"].startswith("comparison") and ": " in example["answer"]:
            others = [owners[fact.answer] for fact in facts if fact.answer in owners and answers_part(fact, example)]
            met += len(others) > 1
            assert set(others) <= {example["family"]}
    assert met


def answers_part(fact: Fact, example: dict) -> bool:
    spans = {(span["source"], span["start"], span["end"]) for span in example["spans"]}
    return len(fact.spans) == 1 and fact.spans[0] in spans


def test_no_answer_of_a_family_stands_in_another_family(examples):
    said = defaultdict(set)
    for example in examples:
        for text in (example["question"], example["answer"]):
            for length in range(1, 9):
                for run in grams(words(text), length):
                    said[run].add(example["family"])
    templated = {word for one in templates() for word in words(one.text)}
    for example in examples:
        answer = words(example["answer"])
        if len(answer) <= 8 and not templated.issuperset(answer):
            assert said[answer] == {example["family"]}, example


def test_a_second_round_keeps_the_first_and_adds_to_its_focus(facts, examples):
    grown = extended(examples, facts, ["files"], len(examples) + 150, 3)
    assert grown[: len(examples)] == examples
    new = grown[len(examples) :]
    assert 150 <= len(new) < 150 + MOST_WORDINGS
    old_families = {example["family"] for example in examples}
    assert any(example["family"] in old_families for example in new)
    assert sum(example["topic"] == "files" for example in new) > 0.8 * len(new)  # a new family comes whole
    assert max(Counter(example["family"] for example in grown).values()) <= MOST_WORDINGS
    assert set(Counter(e["family"] for e in grown if e["use"] == "exam").values()) == {1}
    assert len({example["question"] for example in grown}) == len(grown)
    assert extended(examples, facts, ["files"], len(examples) + 150, 3) == grown
    assert len(extended(grown, facts, ["threads"], len(grown) + 20, 3)) >= len(grown) + 20


@pytest.mark.parametrize("stock", list(STOCK))
def test_a_stock_phrase_costs_no_pairs_and_lets_nothing_of_the_exam_into_training(tmp_path, stock):
    cut, texts = world(150)
    pairs, own = habitual(300, stock)
    both = mixed(cut, pairs, 300, 3)
    assert both.taught == 300 and both.left_out == []
    made = {one["id"] for one in both.examples if "made" in one}
    fit, dropped = screen(both.examples, texts | own)
    assert not dropped
    split = first_exam(fit, texts | own, passages(20), 7)
    assert scan(written(split, tmp_path), fit) == []
    assert sum(row["id"] in made for row in split.train) > 0.7 * 300 and len(split.unseen) > 15
    asked = sum(item["id"] in made for item in split.unseen)  # rule 4: no eight words that training has, too
    assert asked == 0 if stock in ("asked", "answered") else asked > 30


def test_pairs_that_are_no_examples_are_left_out_with_their_reason():
    cut, _ = world(20)
    pairs, _ = habitual(12, "none")
    same = Pair(pairs[0].example | {"question": cut[0]["question"]}, "another one?")
    again = [{"id": f"e-{n:012x}", "question": f"{n} what?", "answer": f"it is {n}{n}"} for n in range(8)]
    more = [Pair(pairs[1].example | one, f"{one['answer']}?") for one in again]  # all cut from one place
    for wanted, taught, reasons in (
        (100, 17, {"asked twice": 1, "family is full": 3}),
        (0, 0, {"asked twice": 1, "more than wanted": 20}),
    ):
        both = mixed(cut, [*pairs, same, *more], wanted, 3)
        assert both.taught == taught and Counter(one.reason for one in both.left_out) == reasons
        assert all(schema.check(one.row(), "left-out.v1")["call"] == "0" * 40 for one in both.left_out)


def test_what_is_lacking_is_said(examples):
    assert lacking(examples, SMALL) == ""
    assert "families of facts, and an exam needs 450" in lacking(examples, Scale())
    assert "pairs of the kind comparison" in lacking([e for e in examples if e["kind"] != "comparison"], SMALL)


GOAL = """---
name: demo
sources: [pydoc:errno]
examples: 700
---
## Topics
- **Files**: file, path
"""


def make_run(folder, collected, scale):
    """A run whose research and collect have been answered by hand."""
    flow = {
        name: dict(_config.load().flow[name]) for name in ("10-research", "20-collect", "30-generate", "80-improve")
    }
    flow["10-research"]["reads"], flow["80-improve"]["reads"] = ["goal.md"], ["30-generate/examples/*.jsonl"]
    flow["30-generate"]["settings"] = {"scale": scale}
    run = create_run(folder, GOAL, 3, flow, {}, "1")
    rows, texts = collected
    topics = {"schema": "topics.v1", "goal": "demo", "topics": [t | {"why": "x"} for t in TOPICS], "unmapped": []}
    sources = {f"sources/{name}.md": text.encode() for name, text in texts.items()}
    times = {"schema": "retrieved.v1", "sources": []}
    answer(run, "10-research", {"topics.json": files.canonical(topics), "report.md": b""})
    answer(run, "20-collect", sources | {"sources.jsonl": b"".join(map(files.canonical, rows)),
                                         "retrieved.json": files.canonical(times)})  # fmt: skip
    return run


def answer(run, step, artifacts):
    run.advance()
    claim = next(iter(run.mailbox(step).claims()))
    for name, data in artifacts.items():
        path = claim.begin() / "out" / name if claim.folder is None else claim.folder / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    claim.commit_folder({"read": {}, "seconds": 0.0, "cpu_s": 0.0, "usd": 0.0, "gpu_s": 0.0})


def test_the_step_writes_one_file_per_kind_and_the_same_bytes_again(tmp_path, collected):
    made = []
    for name in ("one", "two"):
        run = make_run(tmp_path / name, collected, {"families": 200, "fewest": 150, "of_a_kind": 20})
        run.advance()
        assert Agent(generate, run, "30-generate", _config.load(), loud=False).once() == DONE
        folder = run.folder / "30-generate" / "outbox" / "r1" / "examples"
        made.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert made[0] == made[1] and list(made[0]) == sorted(f"{kind}.jsonl" for kind in KINDS)
    for data in made[0].values():
        ids = [json.loads(line)["id"] for line in data.splitlines()]
        assert ids == sorted(ids)


def test_a_goal_with_too_few_facts_is_given_up_in_one_line(tmp_path, collected):
    rows, texts = collected
    few = [row for row in rows if row["origin"] == "pydoc:shutil"]
    run = make_run(tmp_path / "run", (few, {row["id"]: texts[row["id"]] for row in few}), {})
    run.advance()
    assert Agent(generate, run, "30-generate", _config.load(), loud=False).once() == GAVE_UP
    said = json.loads((run.folder / "30-generate" / "dead" / "r1.json").read_text())
    line = json.dumps(said)
    assert "goal demo: its sources give" in line and "add sources" in line


def test_every_shape_is_worded(facts):
    assert {fact.shape for fact in facts} <= {one.shape for one in templates()}
