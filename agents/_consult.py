"""Ask a role's model a question that it may look into with tools first, in a few rounds.

    found = consult(job, "researcher", "Which collective operations can hang?", tools=["search"], schema=SCHEMA)

The model asks for tool calls in structured answers, so any endpoint will do. What a tool says reaches it as quoted
material alone, and every round only adds to what was said before: a provider's cache holds, and a question that was
asked and paid before a kill is the same question after it. Results are kept with the job, for the same reason, and so
the same call is made once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agents._ask import Question, Unanswered
from agents._job import Job
from agents._servers import split
from agents._session import Result, Tool
from agents.asking import quoted
from bus import files

ROUNDS = 4  # of tool calls; then the model must answer: who has not found it by then asks the same again
CALLS = 4  # in one round: what is asked at once is asked without having seen the first result
SHOWN = 12_000  # characters of one result that a model is shown, some 3,000 tokens
ABOUT = 300  # characters of what a server says about a tool: it is another's text in our question
ARGUMENTS = 2_000  # characters of a tool's schema: past this its author meant a program, not a model

HOW = (
    "You may look things up with the tools below before you answer. Answer with one JSON object: either ask for up to "
    f'{CALLS} calls, {{"calls": [{{"tool": NAME, "arguments": {{…}}}}], "done": null}}, and their results follow, '
    'or end with {"calls": [], "done": ANSWER}. Ask for nothing that you know already.'
)
LAST = "No more calls are possible. End with what you have."


@dataclass(frozen=True)
class Consulted:
    """What came of a question: `done` is the answer, None where there is none, and `error` then says why.

    `results` are the tool calls that were made for it: (tool, arguments, result), in order.
    """

    done: Any
    error: str = ""
    results: Sequence[tuple[str, Mapping[str, Any], Result]] = ()


@dataclass
class _Open:
    """One question on its way: what was said so far, the calls made, and how it ended."""

    messages: list[dict[str, str]]
    results: list[tuple[str, Mapping[str, Any], Result]] = field(default_factory=list)
    ended: Consulted | Unanswered | None = None


def consult(
    job: Job,
    role: str,
    question: str,
    tools: Sequence[str] = (),
    *,
    schema: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
) -> Consulted | Unanswered:
    """`consult_all` for one question."""
    return consult_all(job, role, [question], tools, schema=schema, rounds=rounds)[0]


def consult_all(
    job: Job,
    role: str,
    questions: Sequence[str],
    tools: Sequence[str] = (),
    *,
    schema: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
) -> list[Consulted | Unanswered]:
    """The answers to questions, in their order; each round asks all that are open at once.

    `tools` narrows those of the step down to these entries (SERVER or SERVER.TOOL); none named are all. `schema`: what
    `done` must follow, with no $ref in it; a text if None. With no tools, or once `rounds` are over, no more calls are
    possible and the model must answer.
    """
    known = {name: one for name, one in sorted(job.tools.known.items()) if not tools or _meant(name, tools)}
    wanted = dict(schema) if schema is not None else {"type": "string"}
    asked = [_Open(_opening(one, known)) for one in questions]
    for left in range(rounds if known else 0, -1, -1):
        going = [one for one in asked if one.ended is None]
        if not left and known:
            for one in going:
                one.messages.append({"role": "user", "content": LAST})
        asking = (Question(tuple(one.messages), schema=_answer(known if left else {}, wanted)) for one in going)
        replies = sorted(job.models.all(role, asking), key=lambda pair: pair[0])
        for place, reply in replies:
            _heard(job, going[place], reply)
    return [one.ended or Consulted(None, "it asked for tools in every round", one.results) for one in asked]


def _meant(name: str, entries: Sequence[str]) -> bool:
    return name in entries or split(name)[0] in entries


def _opening(question: str, known: Mapping[str, Tool]) -> list[dict[str, str]]:
    if not known:
        return [
            {"role": "user", "content": f'{question}\n\nAnswer with one JSON object: {{"calls": [], "done": ANSWER}}'}
        ]
    told = "\n".join(_told(one) for one in known.values())
    tools = quoted.quoted("tools", told)
    return [{"role": "user", "content": f"{question}\n\n{HOW}\n{quoted.RULE}\n\n{tools}"}]


def _told(tool: Tool) -> str:
    """One tool in a line, as its server describes it."""
    schema = json.dumps(tool.schema, ensure_ascii=False, sort_keys=True)
    return f"{tool.name}: {quoted.line(tool.about, ABOUT)} Arguments: {quoted.line(schema, ARGUMENTS)}"


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


def _heard(job: Job, one: _Open, reply: dict[str, Any] | Unanswered) -> None:
    """Take one answer: the end of the question, or calls to make and tell of."""
    if isinstance(reply, Unanswered):
        one.ended = reply
    elif reply["error"]:
        one.ended = Consulted(None, f"{reply['error']['kind']}: {reply['error']['message']}", one.results)
    elif calls := reply["parsed"]["calls"]:
        one.messages.append({"role": "assistant", "content": json.dumps(reply["parsed"], ensure_ascii=False)})
        told = [_made(job, one, call["tool"], call["arguments"]) for call in calls]
        one.messages.append({"role": "user", "content": "\n\n".join(told)})
    elif reply["parsed"]["done"] is None:
        one.ended = Consulted(None, "it neither asked for a call nor answered", one.results)
    else:
        one.ended = Consulted(reply["parsed"]["done"], "", one.results)


def _made(job: Job, one: _Open, tool: str, arguments: Mapping[str, Any]) -> str:
    """Make one call, or take its kept result; returns it as quoted material."""
    name = f"tools/{files.sha256(json.dumps([tool, arguments], sort_keys=True).encode())[:32]}.json"
    result = Result(**job.once(name, lambda: asdict(job.tools.call(tool, arguments))))
    one.results.append((tool, arguments, result))
    said = f"It failed: {result.error}" if result.error else result.text or json.dumps(result.data, ensure_ascii=False)
    more = "\n[cut off here]" if result.cut or len(said) > SHOWN else ""
    return quoted.quoted(f"{tool} {len(one.results)}", said[:SHOWN] + more)
