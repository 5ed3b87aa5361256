"""The grounding check by rules: how many planted faults it finds, and how many good answers it loses."""

import random
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from agents.exam.grounding import clauses, unsupported
from agents.exam.places import ALONE, PLAIN, exchanged, rivals, together
from agents.exam.quality import unfit, ungrounded
from agents.exam.stems import VALUES, Word, read, stem
from agents.generate import facts_of, first
from agents.teacher.scale import Scale
from tests.counted import steps
from tests.test_distil import collected
from tests.test_generate import TOPICS

__all__ = ["collected"]
FIXTURE = Path(__file__).with_name("grounded.txt")
FRESH = "# FRESH"  # the line after which the entries begin that no rule was adjusted on
PLANTS = {"N": "number", "X": "denial", "W": "exchange", "C": "half true"}
TOLD = ("told by the question", "half told by the question", "no more than a word")  # planted by a rule, see `borrowed`
LEAST_FOUND, MOST_LOST = 0.95, 0.05  # issue 4


def entries(fresh: bool = False) -> list[dict[str, str]]:
    """The entries that the rules were adjusted on, or those written afterwards."""
    found: list[dict[str, str]] = []
    for line in FIXTURE.read_text("utf-8").split(FRESH)[fresh].splitlines():
        if line.startswith("S: "):
            found.append({})
        if re.match("[SQGNXWC]: ", line):
            found[-1][line[0]] = line[3:]
    return found


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% interval of a share (Wilson, 1927)."""
    p, d = hits / n, 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / d, z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5 / d
    return middle - half, middle + half


def reworded(fresh: bool = False) -> tuple[list[bool], dict[str, list[bool]]]:
    """(good answers lost, {plant: found}) of the fixture; a plant of its own is another entry's answer."""
    listed = entries(fresh)
    lost, found = [], {name: [] for name in (*PLANTS.values(), "other source")}
    for place, one in enumerate(listed):
        lost.append(unsupported(one["G"], one["S"], one["Q"]) is not None)
        other = listed[(place + 7) % len(listed)]["G"]
        found["other source"].append(unsupported(other, one["S"], one["Q"]) is not None)
        for key, name in PLANTS.items():
            if key in one:
                found[name].append(unsupported(one[key], one["S"], one["Q"]) is not None)
    return lost, found


def borrowed(fresh: bool = False) -> dict[str, list[bool]]:
    """{plant: found} of answers that the question tells: whole, with a span about something else; half, with a span
    that proves the other half; whole, with a span of a word or two that stand anywhere."""
    listed = entries(fresh)
    found: dict[str, list[bool]] = {name: [] for name in TOLD}
    for place, one in enumerate(listed):
        other = listed[(place + 3) % len(listed)]
        asked = f"{other['Q']} {other['G']}"
        found[TOLD[0]].append(unsupported(other["G"], one["S"], asked) is not None)
        half = f"{one['G'].rstrip('.')}, and {other['G'][0].lower()}{other['G'][1:]}"
        found[TOLD[1]].append(unsupported(half, one["S"], f"{one['Q']} {other['G']}") is not None)
        for span in ("the", "A", " ".join(one["S"].split()[:2]), other["G"].split()[-1]):
            found[TOLD[2]].append(unsupported(other["G"], span, asked) is not None)
    return found


def cut(collected) -> tuple[list[bool], dict[str, list[bool]]]:
    """The same for answers that are quoted: sentences of real documentation, with faults planted by a rule."""
    rows, texts = collected
    examples = first(facts_of(rows, texts, TOPICS), frozenset(), 900, 3, Scale(families=200, fewest=150, of_a_kind=20))
    made = {"call": "0" * 40, "model": "planted", "persona": "operator", "difficulty": "easy"}
    long = [one | {"made": made} for one in examples if not one["short"] and one["kind"] != "comparison"]
    names = sorted({word.text for one in long for word in read(one["answer"]) if word.name})
    lost = [unfit(one, texts) is not None for one in long]
    found: dict[str, list[bool]] = {}
    for place, one in enumerate(long):
        for name, answer in planted(one["answer"], long[(place + 11) % len(long)]["answer"], names, place):
            found.setdefault(name, []).append(unfit({**one, "answer": answer}, texts) is not None)
    return lost, found


def planted(answer: str, other: str, names: list[str], place: int):
    """(plant, the answer with that fault) for each plant that the answer has room for."""
    chance = random.Random(place)
    if number := re.search(r"(?<![\w.])\d+(?![\w.])", answer):
        yield "number", answer[: number.start()] + str(int(number[0]) + chance.randint(1, 90)) + answer[number.end() :]
    if verb := re.search(r"\b(is|are|will|can|must|may|does)\b(?! not)", answer):
        yield "denial", answer[: verb.end()] + " not" + answer[verb.end() :]
    mine = [word.text for word in read(answer) if word.name and word.text in answer]
    strangers = [name for name in names if name.lower() not in answer.lower()]
    if mine:
        yield "exchange", answer.replace(chance.choice(mine), chance.choice(strangers))
    yield "half true", f"{answer.rstrip('.')}, and {other[0].lower()}{other[1:]}"
    yield "other source", other


def test_the_rules_find_planted_faults_and_keep_good_answers(collected, record_property, capsys):
    both = {"reworded": reworded(), "quoted": cut(collected)}
    fresh = reworded(fresh=True)
    lines = []
    for what, (lost, found) in {**both, "fresh": fresh}.items():
        every = [one for name in sorted(found) for one in found[name]]
        for name, hits in [("good lost", lost), *sorted(found.items()), ("all planted found", every)]:
            low, high = wilson(sum(hits), len(hits))
            lines.append(
                f"{what}: {name}: {sum(hits)} of {len(hits)}, {sum(hits) / len(hits):.1%} [{low:.1%}, {high:.1%}]"
            )
    told = {"reworded": borrowed(), "fresh": borrowed(fresh=True)}
    for what, plants in told.items():
        lines += [f"{what}: {name}: {sum(hits)} of {len(hits)}" for name, hits in plants.items()]
        assert all(sum(hits) >= LEAST_FOUND * len(hits) for hits in plants.values()), lines
    lost = [one for result in both.values() for one in result[0]]
    found = [one for result in both.values() for hits in result[1].values() for one in hits]
    lines += [f"together: lost {sum(lost)} of {len(lost)}, found {sum(found)} of {len(found)}"]
    record_property("grounding", "\n".join(lines))
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert sum(found) >= LEAST_FOUND * len(found) and sum(lost) <= MOST_LOST * len(lost), lines
    for result in both.values():
        assert sum(result[0]) <= MOST_LOST * len(result[0]), lines
    assert sum(fresh[0]) <= 0.15 * len(fresh[0]) and sum(map(sum, fresh[1].values())) >= 0.7 * sum(
        map(len, fresh[1].values())
    )
    assert sum(one for hits in both["reworded"][1].values() for one in hits) >= 0.9 * 193, lines  # 193 were planted


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("The default is 3 seconds.", "'3' is a number"),
        ("The default is 5 minutes.", "'minutes' is a unit"),
        ("The default of `max_wait` is 5 seconds.", "'max_wait' is a name"),
        ("The default is not 5 seconds.", "has a 'not'"),
        ("A default of 5 seconds does not exist.", "denies"),
        ("The default is 5 seconds, and the socket is closed gracefully afterwards.", "is not in the span"),
        ("The default is 5 seconds.", None),
        ("Unless given, it is 5 seconds.", None),
        ("…", "no words"),
    ],
)
def test_each_rule_says_what_it_found(answer, says):
    found = unsupported(answer, "timeout: the default is 5 seconds", "What is the default of timeout, unless given?")
    assert (found is None) if says is None else says in found


SOURCE = """# torch.cuda

## torch.cuda.empty_cache

Summary: Release all unoccupied cached memory of the caching allocator.

- `max_wait` (float, optional): how many seconds it waits for the stream of the device.
"""


@pytest.mark.parametrize(
    ("span", "answer", "says"),
    [
        ("Release all unoccupied cached memory", "torch.cuda.empty_cache releases all unoccupied cached memory.", None),
        ("Release all unoccupied cached memory", "memory_reserved releases all unoccupied cached memory.", "is a name"),
        ("Release all unoccupied cached memory", "It releases 12 MiB of unoccupied cached memory.", "is a number"),
        ("it waits for the stream of the device", "max_wait says how long it waits for the device's stream.", None),
        ("the", "memory_reserved shrinks by 12 MiB when rank 3 hangs.", "0 words of its own"),
        ("cached memory", "It shrinks when rank 3 hangs.", "2 words of its own"),
        ("cached", "Cached", "1 words of its own"),
        ("max_wait", "max_wait", None),
        ("Release all unoccupied cached memory", "Yes.", "words come from the span itself"),
        ("Release all unoccupied cached memory", "It shrinks when a rank hangs in memory.", "from the span itself"),
    ],
)
def test_an_answer_stands_on_its_span_and_not_on_its_question(span, answer, says):
    asked = "Does memory_reserved shrink by 12 MiB when rank 3 hangs?"
    start = SOURCE.index(span)
    example = {"question": asked, "answer": answer, "made": {}}
    example["spans"] = [{"source": "doc", "start": start, "end": start + len(span)}]
    found = ungrounded(example, {"doc": SOURCE})
    assert (found is None) if says is None else says in found


def test_a_fact_is_not_taught_through_a_pair_whose_span_is_a_word():
    """What leaked: a fact of `unseen`, told by a question, with a span that has nothing of it."""
    told = "empty_cache gives unoccupied cached memory of the caching allocator back, so another GPU can use it."
    asked = "Why call empty_cache when another GPU can use unoccupied cached memory of the caching allocator?"
    for span in ("the", "A", "Summary", "for the stream of the device", "how many seconds it waits for"):
        start = SOURCE.find(span)
        pair = {"question": asked, "answer": told, "made": {}}
        pair["spans"] = [{"source": "doc", "start": start, "end": start + len(span)}]
        assert start < 0 or ungrounded(pair, {"doc": SOURCE}), span


def test_a_list_of_a_hundred_names_is_compared_in_few_steps():
    """A pair of an answer of 118 names once took 4 million calls and 4.7 s."""
    names = " ".join(f"{chr(97 + i // 26)}{chr(97 + i % 26)}_" for i in range(118))
    signals = " ".join(f"SIG{chr(65 + i % 26)}{chr(65 + i * 7 % 26)}X{i} = {i + 3}" for i in range(60))[:600]
    assert steps(lambda: unsupported(names.replace("aa_", "ab_"), f"{names} now", "List them.")) < 200_000
    assert steps(lambda: unsupported(signals.replace(" = ", " is "), signals, "Which numbers?")) < 200_000


def test_an_exchange_is_found_as_by_trying_every_one():
    chance = random.Random(5)
    texts = [one for entry in entries() + entries(fresh=True) for one in entry.values()]
    found = 0
    for _ in range(300):
        said, told = (clauses(chance.choice(texts)) for _ in range(2))
        if chance.random() < 0.7:  # mostly the same text, two words of it exchanged
            words = [word for clause in told for word in clause]
            one, other = (chance.randrange(len(words)) for _ in range(2))
            words[one], words[other] = words[other], words[one]
            said = [words]
        fault = exchanged(said, told)
        assert fault == tried(said, told)
        found += fault is not None
    assert found > 10


def tried(said, told) -> str | None:
    """What `exchanged` says, by making each exchange and comparing the whole texts."""
    near = together(told)

    def fits(swap):
        return len(together([[replace(w, stem=swap.get(w.stem, w.stem)) for w in clause] for clause in said]) & near)

    marked = {word.stem for clause in told for word in clause if word.name or word.number or word.text in VALUES}
    mine = {word.stem for clause in said for word in clause}
    pairs = {frozenset(pair) for pair in combinations(sorted(marked), 2) if set(pair) & mine}
    pairs |= {pair for pair in rivals(told) if pair <= mine}
    for one, other in sorted(sorted(pair) for pair in pairs):
        more = 0 if {one, other} <= mine & marked else PLAIN if {one, other} <= mine else ALONE
        if fits({one: other, other: one}) > fits({}) + more:
            return f"{one!r} and {other!r} are exchanged"
    return None


@pytest.mark.parametrize(
    ("words", "same"), [("return returns returned returning", True), ("tries try", True), ("set get", False)]
)
def test_forms_of_a_word_have_one_stem(words, same):
    assert (len({stem(word) for word in words.split()}) == 1) == same


def test_names_numbers_and_values_are_told_apart():
    told = {word.text: word for word in read("Set torch.cuda.max_split to 1,024 on the H100, not None.")}
    assert told["torch.cuda.max_split"].name and told["H100"].name and not told["None"].name
    assert told["1,024"] == Word("1,024", "1024", number=True, content=True) and not told["the"].content
