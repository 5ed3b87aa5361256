"""What is assumed of a call before one is answered: three sets of rates, low, expected and high.

Each is a round figure with its reason; a pilot (agents/quoting/pilot.py) puts measured ones in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.quoting.curve import NONE_SEEN, Growth, Seen, Yield
from agents.teacher.prompts import KINDS as KINDS_OF_PAIRS

MAP, STUDY, LOOKUP, SCENARIOS = "a map of the domain", "a topic", "a topic, with tools", "error scenarios"
PAIRS, JUDGED, COMPARED = "pairs about a chunk", "is a pair right", "which answer is better"
KINDS = (MAP, STUDY, LOOKUP, SCENARIOS, PAIRS, JUDGED, COMPARED)


class Range(NamedTuple):
    """What a figure is at least, most likely, and at most."""

    low: float
    expected: float
    high: float


# English prose has 4 to 5 bytes a token in the vocabularies of today's models, code and names 3 and fewer.
BYTES_PER_TOKEN = Range(4.8, 4.0, 2.8)  # low: of tokens
MESSAGE_TOKENS = Range(3, 8, 32)  # that a chat template puts around a message
# A schema that goes along by response_format: servers that only steer by it count nothing, others all of it.
SCHEMA_COUNTED = Range(0.0, 0.5, 1.0)
OUTPUT = {  # tokens of an answer; models that think aloud write several times as many, which only a pilot shows
    MAP: Range(150, 500, 1500),  # a slug, some sources and keywords a topic
    STUDY: Range(300, 900, 1800),  # up to twelve claims of one or two sentences
    LOOKUP: Range(60, 300, 1200),  # some calls of tools, or the study itself
    SCENARIOS: Range(1000, 2000, 3500),  # ten scenarios of five sentences
    PAIRS: Range(250, 700, 1500),  # up to five pairs of four texts, the span among them
    JUDGED: Range(60, 120, 300),  # three scores with a sentence each
    COMPARED: Range(20, 60, 200),  # a sentence and a word
}
FOREIGN = {  # bytes of what earlier answers put into a question
    LOOKUP: Range(0, 12_000, 48_000),  # what tools said in the rounds before
    SCENARIOS: Range(0, 0, 2_000),  # the symptoms that are there already, from the second asking on
    JUDGED: Range(500, 900, 1_600),  # a span with 300 characters on each side, question and answer
    COMPARED: Range(80, 260, 480),  # two answers of at most 48 tokens each (training/answer.py)
}
HELD = Range(4.5, 3.2, 1.0)  # of five pairs, those that hold: the fewer, the more prompts are asked
BATCHES = Range(5, 6, 12)  # askings of ten scenarios until a group has fifty that differ; fifteen at most
ROUNDS_OF_TOOLS = Range(1, 3, 5)  # calls for a question that may be looked up: agents/_consult.py allows five
EXAMS = Range(0.2, 0.6, 0.9)  # exam wordings for each pair: one a family, and families have one to six pairs
DIFFER = Range(0.3, 0.97, 1.0)  # of two long answers, those that a judge is shown: alike ones are a tie
MADE_LONG = Range(0.2, 0.8, 1.0)  # of a teacher's exam questions, those with a long answer: it was asked for sentences
MADE_TAUGHT = Range(0.1, 0.65, 0.8)  # of its exam wordings, those that `taught` may ask: 80% less what a judge drops
MADE_HELD = Range(0.02, 0.12, 0.2)  # those of families that are held out: 20% less what overlaps with training
MADE_BYTES = Range(150, 250, 500)  # of question and reference
LATENCY_S = Range(0.3, 1.0, 4.0)  # until an answer begins
TOKENS_PER_S = Range(150.0, 60.0, 15.0)  # of one answer, as it is written


class Examined(NamedTuple):
    """What of an exam has a long answer, which a judge compares: of some families, or of each exam wording."""

    families: float  # that `taught` may ask about
    long: float  # share of these whose answer is long
    held: float  # questions with a long answer about families that are held out of training
    bytes: float  # of question and reference with a long answer

    def times(self, count: float) -> Examined:
        return self._replace(families=self.families * count, held=self.held * count)


class Price(NamedTuple):
    """Dollars as they were paid: for a token of the question, and for all else of an answer."""

    input: float
    answer: float


@dataclass(frozen=True)
class Rates:
    """One set of assumptions: by kind of call, what it takes; then how many calls there are."""

    tokens_per_byte: Mapping[str, float]
    output: Mapping[str, float]
    seconds: Mapping[str, float]
    foreign: Mapping[str, float]
    message_tokens: float
    schema_counted: float
    new: Yield  # different questions of pairs that hold
    apart: Yield  # pairs that a judge is asked about: the first that asks a question
    exams: Growth  # exam wordings for different questions: one a family
    batches: float
    tool_rounds: float
    made: Examined  # what an exam wording of the teacher adds to the exam
    differ: float  # of long answers, the share that a judge is shown
    seen: Seen = NONE_SEEN
    rich: Mapping[str, float] = field(default_factory=dict)  # pairs of a chunk by its sort of source, 1: as many as all
    measured: frozenset[str] = frozenset()  # kinds whose tokens_per_byte holds all that is counted
    paid: Mapping[str, Price | None] = field(default_factory=dict)  # of those; None: nobody knows a price
    held: Mapping[str, float] = field(default_factory=dict)  # tokens of a call that stay reserved beside its answer
    by: Mapping[str, str] = field(default_factory=dict)  # the profile that answers, where a pilot found another
    beside: float = 0.0  # comparisons that a pilot asked and the run does not


def prior(place: int) -> Rates:
    """The rates before anything was asked: of the low (0), the expected (1) or the high (2) end."""
    seconds = {kind: LATENCY_S[place] + one[place] / TOKENS_PER_S[place] for kind, one in OUTPUT.items()}
    held = Yield(Growth(HELD[place] * len(KINDS_OF_PAIRS)))
    return Rates(
        dict.fromkeys(KINDS, 1 / BYTES_PER_TOKEN[place]),
        {kind: one[place] for kind, one in OUTPUT.items()},
        seconds,
        {kind: FOREIGN[kind][place] if kind in FOREIGN else 0.0 for kind in KINDS},
        MESSAGE_TOKENS[place],
        SCHEMA_COUNTED[place],
        held,
        held,
        Growth(EXAMS[place]),
        BATCHES[place],
        ROUNDS_OF_TOOLS[place],
        Examined(MADE_TAUGHT[place], MADE_LONG[place], MADE_HELD[place], MADE_BYTES[place]),
        DIFFER[place],
    )
