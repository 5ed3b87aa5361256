"""One exchange with an OpenAI-compatible chat endpoint, told as it was: an Answer, or a Failure of a known kind.

Servers differ: usage may be missing, `n` and sampling parameters ignored, an error hidden in a 200, a body cut short.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.models import structured
from agents.models.keys import Blotter
from agents.models.profile import Profile

BYTES_A_TOKEN = 4  # of English text, where the server does not count; never used for money
MAX_SHOWN = 300  # characters of a server's own words that an error quotes
MAX_NAME = 200  # characters of what a server calls its model
MAX_TOKENS = 10**9  # of one call: what counts more counts wrongly
MAX_WAIT_S = 3600.0  # that a Retry-After is obeyed for: a slip of a server's clock must not end a run
# How an answer begins that refuses to answer: short, and in the first person. Long ones merely hedge.
REFUSAL = re.compile(
    r"\s*(?:I['’]?m sorry|I am sorry|Sorry|I apologi[sz]e|Unfortunately)?[,.;]?\s*(?:but )?"
    r"(?:I (?:can(?:no|['’])t|can not|am (?:not able|unable) to|won['’]t|will not|must decline)"
    r"|I['’]m (?:not able|unable) to)\b"
    r"[^.]{0,200}?\b(?:assist|help|comply|answer|provide|fulfil|generate|create|discuss|do that|continue)",
    re.IGNORECASE,
)
REFUSAL_LONGEST = 600  # characters
Kind = Literal["busy", "server", "timeout", "connection", "request", "auth", "redirect", "malformed"]
FINISHES = dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop")
FINISHES |= dict.fromkeys(("content_filter", "safety", "recitation", "prohibited_content"), "filter")
FINISHES |= {"refusal": "refusal", "unknown": "unknown"}
CUT_OFF = "length"  # what has any other name is not known to be whole
BROKEN = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "insufficient_system_resource"})
STREAMS = (b"data:", b"event:", b"id:", b"retry:", b":")  # how a stream may begin: a comment keeps it open
Idle = Callable[[], contextlib.AbstractContextManager[object]]  # within one nothing is done but waiting


@dataclass(frozen=True)
class Tokens:
    """What an answer took; `counted` by the server, else estimated from the bytes and good for no money."""

    input: int
    output: int
    cached: int
    counted: bool


@dataclass(frozen=True)
class Answer:
    """What a model said and how it ended: stop, length, filter, refusal, or unknown where the server did not say."""

    text: str
    finish: str
    model: str
    tokens: Tokens


class Failure(Exception):
    """An exchange with no answer. `sent`: the server may have worked on it, and may bill it."""

    def __init__(
        self, kind: Kind, message: str, status: int | None = None, retry_after_s: float | None = None, sent: bool = True
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.retry_after_s, self.sent = kind, status, retry_after_s, sent


def session() -> Any:
    """A `wire.Wire`: connections that take nothing from the environment; one thread's own."""
    from agents.models.wire import Wire

    return Wire()


def body(
    profile: Profile, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any], schema: Any
) -> dict[str, Any]:
    """What is sent: the messages, the parameters, and how JSON is asked for, as far as this server can do it."""
    made = {"model": profile.model, "messages": list(messages), "stream": False, **parameters}
    return made | (structured.wanted(schema, profile.capabilities) if schema else {})


def ask(
    opened: Any,
    profile: Profile,
    key: str,
    messages: Sequence[Mapping[str, str]],
    parameters: Mapping[str, Any],
    schema: Any = None,
    idle: Idle = contextlib.nullcontext,
) -> Answer:
    """Send one question and return its answer; raises Failure. A key that the server sends back is blotted out of both.

    That comes first: half of a key, where an error or a message cuts the text, nobody could find any more.
    """
    clean, data = Blotter([key]).clean, json.dumps(body(profile, messages, parameters, schema)).encode()
    url = f"{profile.endpoint.rstrip('/')}/chat/completions"
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        with idle():
            status, told, raw = opened.post(url, headers, data, profile.timeout_s)
        raw = clean(raw)
        if status != 200:
            raise _refused(status, told, raw)
        return _answer(profile, _document(raw), raw, len(data), clean)
    except Failure as failure:
        words = f"{profile.name}: {clean(str(failure))[:MAX_SHOWN]}"
        raise Failure(failure.kind, words, failure.status, failure.retry_after_s, failure.sent) from None


def _answer(
    profile: Profile, document: Mapping[str, Any], raw: bytes, sent: int, clean: Callable[[Any], Any]
) -> Answer:
    """What a chat completion says; raises Failure for what is none, or was not ended by its model."""
    try:
        choice = document["choices"][0]
        message = choice["message"]
        text, refusal = _text(message.get("content")), message.get("refusal")
        finish = str(choice.get("finish_reason") or "unknown").lower()
    except (LookupError, TypeError, AttributeError):
        raise Failure("malformed", f"no choices in its answer: {_shown(raw)}", 200) from None
    if finish in BROKEN:
        raise Failure("server", f"its answer ended with {finish}: {_shown(raw)}", 200)
    finish = FINISHES.get(finish, CUT_OFF)
    if refusal and isinstance(refusal, str):
        text, finish = refusal, "refusal"
    text = _readable(clean(text))
    if finish in ("stop", "unknown") and len(text) <= REFUSAL_LONGEST and REFUSAL.match(text):
        finish = "refusal"
    model = _readable(clean(str(document.get("model") or profile.model)))[:MAX_NAME]
    return Answer(text, finish, model, _tokens(document.get("usage"), sent, len(text.encode())))


def _text(content: Any) -> str:
    """The text of a message: given whole, in parts as some servers send it, or not at all; TypeError for others."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TypeError(content)
    return "".join(_text(part.get("text")) for part in content)


def _readable(text: str) -> str:
    """A text that can be written: half of a surrogate pair, which JSON lets a model send, cannot."""
    return text.encode("utf-8", "replace").decode()


def _refused(status: int, headers: Mapping[str, str], raw: bytes) -> Failure:
    """What a status that is not 200 comes to."""
    if 300 <= status < 400:
        return Failure("redirect", f"{status}: redirects are not followed; correct its endpoint", status, sent=False)
    kind: Kind = "request"
    if status in (401, 402, 403):
        kind = "auth"
    elif status == 429:
        kind = "busy"
    elif status in (408, 425) or status >= 500:
        kind = "server"
    wait = retry_after(headers.get("Retry-After"), headers.get("Date")) if kind in ("busy", "server") else None
    long = wait is not None and wait > MAX_WAIT_S
    cut = f"it wants to be left alone for {wait:.3g} s, and is for {MAX_WAIT_S:g}; " if long else ""
    return Failure(kind, f"{status}: {cut}{_shown(raw)}", status, MAX_WAIT_S if long else wait, sent=kind == "server")


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds to wait by a Retry-After header, given as seconds or as a date; None where there is none to be read.

    `date`: the answer's own, by the same clock as that in the header; this machine's may be another.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        if (until := _moment(value)) is None:
            return None
        now = _moment(date or "")
        seconds = until - (time.time() if now is None else now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _moment(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _document(raw: bytes) -> dict[str, Any]:
    """The JSON document of an answer, or the one that its stream amounts to; raises Failure."""
    try:
        document = _streamed(raw) if raw.lstrip().startswith(STREAMS) else json.loads(raw)
    except (ValueError, RecursionError, TypeError, AttributeError):
        raise Failure("malformed", f"its answer is no JSON: {_shown(raw)}", 200) from None
    if not isinstance(document, dict):
        raise Failure("malformed", f"its answer is no object: {_shown(raw)}", 200)
    if (error := document.get("error")) and not document.get("choices"):  # an error that says 200
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        raise _refused(status, {}, json.dumps(error).encode())
    return document


def _streamed(raw: bytes) -> dict[str, Any]:
    """The one completion of a stream, for servers that stream unasked; one that just ends may have been cut off."""
    texts: list[str] = []
    found: dict[str, Any] = {}
    finish = CUT_OFF
    for line in raw.splitlines():
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        part = json.loads(line[5:])
        found |= {key: part[key] for key in ("model", "usage", "error") if part.get(key)}
        for choice in part.get("choices") or ():
            if choice.get("index", 0) == 0:  # one was asked for
                texts.append(_text((choice.get("delta") or {}).get("content")))
                finish = choice.get("finish_reason") or finish
    if "error" in found:  # what was said before it is no answer
        return found
    return {**found, "choices": [{"message": {"content": "".join(texts)}, "finish_reason": finish}]}


def _tokens(usage: Any, sent: int, said: int) -> Tokens:
    """The server's own count, or an estimate where it counted nothing that can be."""
    usage = usage if isinstance(usage, dict) else {}
    input, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if _is_count(input) and _is_count(output) and input + output:
        details = usage.get("prompt_tokens_details")
        cached: Any = details.get("cached_tokens") if isinstance(details, dict) else 0
        return Tokens(input, output, cached if _is_count(cached) and cached <= input else 0, True)
    return Tokens(-(-sent // BYTES_A_TOKEN), -(-said // BYTES_A_TOKEN), 0, False)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS


def _shown(raw: bytes) -> str:
    """A server's own words in one line; `ask` cuts it, once no key is left in it."""
    return " ".join(raw.decode("utf-8", "replace").split()) or "nothing"
