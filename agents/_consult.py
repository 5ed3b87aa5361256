"""Ask a role's model questions that it may look into with tools first, in a few rounds.

    found = consult_all(job, "researcher", ["Which collective operations can hang?"], schema=SCHEMA)

The model asks for tool calls in structured answers, so any endpoint will do. What a tool says reaches it as quoted
material alone, and every round only adds to what was said before: a provider's cache holds, and a question that was
asked and paid before a kill is the same question after it. Results are kept with the job, for the same reason, and so
the same call is made once. What the tools were, and how much they may say, is the artifact tools.json: a replay asks
the same without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agents import _budget, _original
from agents._ask import Question, Unanswered
from agents._job import Job
from agents._retold import Retold
from agents._session import Result, Tool
from agents.asking import material
from agents.models.profile import Profile, chain, roles
from bus import files

ROUNDS = 4  # of tool calls; then the model must answer: who has not found it by then asks the same again
CALLS = 4  # in one round: what is asked at once is asked without having seen the first result
SHOWN = 12_000  # bytes of one result that a model is shown, some 3,000 tokens
LEAST = 2_000  # bytes of room for results: with less, another round would show next to nothing
ABOUT = 300  # characters of what a server says about a tool: it is another's text in our question
ARGUMENTS = 2_000  # characters of a tool's schema
TOOLS = 0.3  # of the room that the descriptions of tools may fill: those that do not fit cannot be called
TOKEN = 3  # bytes, so that too little is said rather than too much: English has 4 in a token, code 3
SPARE = 500  # tokens of a context for what servers put around messages

HOW = (
    "You may look things up with the tools below before you answer. Answer with one JSON object: either ask for up to "
    f'{CALLS} calls, {{"calls": [{{"tool": NAME, "arguments": {{…}}}}], "done": null}}, and their results follow, '
    'or end with {"calls": [], "done": ANSWER}. Ask for nothing that you know already.'
)
LAST = "No more calls are possible. End with what you have."


@dataclass(frozen=True)
class Consulted:
    """What came of a question: `done` is the answer, None where there is none, and `error` then says why.

    `results` are the tool calls that were made for it: (tool, arguments, result), in order; `by` is who answered last:
    (profile, model).
    """

    done: Any
    error: str = ""
    results: Sequence[tuple[str, Mapping[str, Any], Result]] = ()
    by: tuple[str, str] = ("", "")


@dataclass
class _Open:
    """One question on its way: what was said so far, the rounds of calls left, the calls made, and how it ended."""

    messages: list[dict[str, str]]
    rounds: int
    results: list[tuple[str, Mapping[str, Any], Result]] = field(default_factory=list)
    ended: Consulted | Unanswered | None = None

    @property
    def bytes(self) -> int:
        return sum(len(one["content"].encode()) for one in self.messages)


def consult_all(
    job: Job, role: str, questions: Sequence[str], *, schema: Mapping[str, Any] | None = None
) -> list[Consulted | Unanswered]:
    """The answers to questions, in their order; each round asks all that are open at once.

    `schema`: what `done` must follow, with no $ref in it; a text if None. With no tools, or once its rounds or its room
    are used up, no more calls are possible and the model must answer.
    """
    wanted = dict(schema) if schema is not None else {"type": "string"}
    listed, room = sorted(job.tools.known.items()), _room(job, role)
    rows = [{"name": name, "about": one.about, "arguments": dict(one.schema)} for name, one in listed]
    job.offer(_original.TOOLS, {"schema": "tools.v1", "room": room, "tools": rows})
    known = _fitting([one for _, one in listed], int(TOOLS * room))
    room -= len(files.canonical(_answer(known, wanted)))
    asked = [_opened(one, known, room) for one in questions]
    while going := [one for one in asked if one.ended is None]:
        asking = [Question(tuple(one.messages), schema=_answer(known if one.rounds else {}, wanted)) for one in going]
        for place, reply in sorted(job.models.all(role, asking), key=lambda pair: pair[0]):
            _heard(job, going[place], reply, room)
    return [one.ended for one in asked if one.ended is not None]


def _room(job: Job, role: str) -> int:
    """Bytes that one question may have with all that is said on the way to its answer, in whoever's context is least.

    An answer is asked for once more where it does not fit its schema, and is then part of the question.
    """
    if isinstance(job.tools, Retold):
        return job.tools.room
    known = roles(job.config.roles)[role]
    asked = chain(known, _budget.enabled(job.run, job.config))
    context = min((one.context for one in asked), default=Profile.context)
    return TOKEN * (context - 2 * known.max_tokens - SPARE)


def _fitting(tools: Sequence[Tool], room: int) -> dict[str, Tool]:
    """The first tools whose descriptions fit, by name."""
    known = {}
    for one in tools:
        room -= len(_told(one).encode()) + 1
        if room < 0:
            break
        known[one.name] = one
    return known


def _opened(question: str, known: Mapping[str, Tool], room: int) -> _Open:
    """A question with the tools, or without them where these leave no room for what they would say."""
    told = "\n".join(_told(one) for one in known.values())
    content = f"{question}\n\n{HOW}\n{material.RULE}\n\n{material.quoted('tools', told)}"
    made = _Open([{"role": "user", "content": content}], ROUNDS)
    if known and room - made.bytes >= LEAST:
        return made
    content = f'{question}\n\nAnswer with one JSON object: {{"calls": [], "done": ANSWER}}'
    return _Open([{"role": "user", "content": content}], 0)


def _told(tool: Tool) -> str:
    """One tool in a line, as its server describes it."""
    schema = json.dumps(tool.schema, ensure_ascii=False, sort_keys=True)
    return f"{tool.name}: {material.line(tool.about, ABOUT)} Arguments: {material.line(schema, ARGUMENTS)}"


def _answer(known: Mapping[str, Tool], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of one answer: calls of known tools, or what is wanted; with no tools only the latter."""
    call = {
        "type": "object",
        "properties": {"tool": {"enum": list(known)} if known else {"type": "string"}, "arguments": {"type": "object"}},
        "required": ["tool", "arguments"],
        "additionalProperties": False,
    }
    done = {"anyOf": [dict(wanted), {"type": "null"}]} if known else dict(wanted)
    calls = {"type": "array", "items": call, "maxItems": CALLS if known else 0}
    properties = {"calls": calls, "done": done}
    return {"type": "object", "properties": properties, "required": ["calls", "done"], "additionalProperties": False}


def _heard(job: Job, one: _Open, reply: dict[str, Any] | Unanswered, room: int) -> None:
    """Take one answer: the end of the question, or calls to make and tell of."""
    if isinstance(reply, Unanswered):
        one.ended = reply
        return
    parsed, by = reply["parsed"], (reply["profile"], reply["model"])
    if reply["error"]:
        one.ended = Consulted(None, f"{reply['error']['kind']}: {reply['error']['message']}", one.results, by)
    elif parsed["calls"]:
        one.messages.append({"role": "assistant", "content": json.dumps(parsed, ensure_ascii=False)})
        _answered(job, one, parsed["calls"], room)
    elif parsed["done"] is None:
        one.ended = Consulted(None, "it neither asked for a call nor answered", one.results, by)
    else:
        one.ended = Consulted(parsed["done"], "", one.results, by)


def _answered(job: Job, one: _Open, calls: Sequence[Mapping[str, Any]], room: int) -> None:
    """Make the calls of one round and tell what they brought, each within its share of the room that is left."""
    told, left = [], room - one.bytes
    for number, call in enumerate(calls):
        share = min(SHOWN, left // (len(calls) - number))
        told.append(_made(job, one, call["tool"], call["arguments"], max(0, share)))
        left -= len(told[-1].encode())
    one.rounds = one.rounds - 1 if left >= LEAST else 0
    one.messages.append({"role": "user", "content": "\n\n".join(told if one.rounds else [*told, LAST])})


def _made(job: Job, one: _Open, tool: str, arguments: Mapping[str, Any], share: int) -> str:
    """Make one call, or take its kept result; returns as much of it as quoted material."""
    name = f"tools/{files.sha256(json.dumps([tool, arguments], sort_keys=True).encode())[:32]}.json"
    result = Result(**job.once(name, lambda: asdict(job.tools.call(tool, arguments))))
    one.results.append((tool, arguments, result))
    said = f"It failed: {result.error}" if result.error else result.text or json.dumps(result.data, ensure_ascii=False)
    shown = said.encode()[:share].decode("utf-8", "ignore")
    more = "\n[cut off here]" if result.cut or shown != said else ""
    return material.quoted(f"{tool} {len(one.results)}", shown + more)
