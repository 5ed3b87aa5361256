"""The grounding check by rules: how many planted faults it finds, and how many good answers it loses."""

import random
import re
from pathlib import Path

import pytest

from agents.exam.grounding import unsupported
from agents.exam.quality import unfit
from agents.exam.stems import Word, read, stem
from agents.generate import facts_of, first
from agents.teacher.scale import Scale
from tests.test_distil import collected
from tests.test_generate import TOPICS

__all__ = ["collected"]
FIXTURE = Path(__file__).with_name("grounded.txt")
FRESH = "# FRESH"  # the line after which the entries begin that no rule was adjusted on
PLANTS = {"N": "number", "X": "denial", "W": "exchange", "C": "half true"}
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


@pytest.mark.parametrize(
    ("words", "same"), [("return returns returned returning", True), ("tries try", True), ("set get", False)]
)
def test_forms_of_a_word_have_one_stem(words, same):
    assert (len({stem(word) for word in words.split()}) == 1) == same


def test_names_numbers_and_values_are_told_apart():
    told = {word.text: word for word in read("Set torch.cuda.max_split to 1,024 on the H100, not None.")}
    assert told["torch.cuda.max_split"].name and told["H100"].name and not told["None"].name
    assert told["1,024"] == Word("1,024", "1024", number=True, content=True) and not told["the"].content
