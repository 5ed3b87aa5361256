"""One exchange with an OpenAI-compatible chat endpoint, told as it was: an Answer, or a Failure of a known kind.

Servers differ: usage may be missing, `n` and sampling parameters ignored, an error hidden in a 200, a body cut short.
Nothing is followed (no redirects) and nothing is taken from the environment (no proxies, no .netrc).
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.models import structured
from agents.models.keys import Blotter
from agents.models.profile import Profile

MAX_BODY = 16 * 1024 * 1024  # bytes of an answer: what is longer is no chat completion
CONNECT_S = 10.0  # to a server that is there; the profile's own time is for thinking
BYTES_A_TOKEN = 4  # of English text, where the server does not count; never used for money
BLOCK = 65536
MAX_SHOWN = 300  # characters of a server's own words that an error quotes
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
FINISHES = {"stop": "stop", "eos": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length"}
FINISHES |= {"content_filter": "filter", "safety": "filter", "refusal": "refusal"}
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
    seconds: float


class Failure(Exception):
    """An exchange with no answer. `sent`: the server may have worked on it, and may bill it."""

    def __init__(
        self, kind: Kind, message: str, status: int | None = None, retry_after_s: float | None = None, sent: bool = True
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.retry_after_s, self.sent = kind, status, retry_after_s, sent


def session() -> Any:
    """A `requests` session that takes nothing from the environment; one thread's own."""
    import requests

    made = requests.Session()
    made.trust_env = False
    made.headers["User-Agent"] = "mailroom"
    return made


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
    clean = Blotter([key]).clean
    began, data = time.monotonic(), json.dumps(body(profile, messages, parameters, schema)).encode()
    with idle():
        status, headers, raw = _exchange(opened, profile, key, data)
    raw = clean(raw)
    if status != 200:
        raise _refused(profile, status, headers, raw)
    document = _document(profile, raw)
    try:
        choice = document["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if isinstance(text, list):  # parts, as some servers send them
            text = "".join(str(part.get("text", "")) for part in text)
        finish = str(choice.get("finish_reason") or "unknown").lower()
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Failure("malformed", f"{profile.name}: no choices in its answer: {_shown(raw)}", status) from None
    if message.get("refusal"):
        text, finish = str(message["refusal"]), "refusal"
    finish = FINISHES.get(finish, "unknown")
    if finish in ("stop", "unknown") and len(text) <= REFUSAL_LONGEST and REFUSAL.match(text):
        finish = "refusal"
    tokens = _tokens(document.get("usage"), len(data), len(text.encode("utf-8", "replace")))
    model = clean(str(document.get("model") or profile.model))
    return Answer(clean(str(text)), finish, model, tokens, time.monotonic() - began)


def _exchange(opened: Any, profile: Profile, key: str, data: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """(status, headers, body) of one POST; the whole of it within the profile's time."""
    import requests
    import urllib3

    deadline = time.monotonic() + profile.timeout_s
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    url = f"{profile.endpoint.rstrip('/')}/chat/completions"
    # Made without the session, which would look for cookies, proxies and a .netrc each time.
    made = requests.Request("POST", url, headers={**opened.headers, **headers}, data=data).prepare()
    how: dict[str, Any] = {"timeout": (CONNECT_S, profile.timeout_s), "allow_redirects": False, "stream": True}
    sent = False  # until the connection stands, nobody can have worked on it
    try:
        with opened.send(made, proxies={}, **how) as response:
            sent = True
            raw = b""
            while block := response.raw.read1(BLOCK, decode_content=True):  # what is there: a drip is noticed, too
                raw += block
                if len(raw) > MAX_BODY:
                    raise Failure("malformed", f"{profile.name}: more than {MAX_BODY:,} bytes of answer")
                if time.monotonic() > deadline:
                    raise Failure("timeout", f"{profile.name}: still dripping after {profile.timeout_s:g} s")
            return response.status_code, response.headers, raw
    except requests.exceptions.ConnectTimeout as error:
        raise Failure("timeout", _why(profile, error), sent=False) from None
    except requests.exceptions.Timeout as error:
        raise Failure("timeout", _why(profile, error)) from None
    except requests.exceptions.SSLError as error:
        raise Failure("auth", _why(profile, error), sent=False) from None
    except requests.exceptions.ConnectionError as error:
        refused = "NewConnectionError" in repr(error) or "NameResolution" in repr(error)
        raise Failure("connection", _why(profile, error), sent=sent or not refused) from None
    except urllib3.exceptions.ReadTimeoutError as error:
        raise Failure("timeout", _why(profile, error)) from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Failure("connection", _why(profile, error)) from None


def _why(profile: Profile, error: Exception) -> str:
    """Why there was no exchange, by the error at the bottom of the one that `requests` raised: `connection refused`."""
    lowest: BaseException = error
    while below := next(filter(_is_error, (getattr(lowest, "reason", None), *lowest.args, lowest.__context__)), None):
        lowest = below
    words = (getattr(lowest, "strerror", None) or "").lower() or str(lowest) or type(lowest).__name__
    return f"{profile.name}: {' '.join(words.split())[:MAX_SHOWN]}"


def _is_error(value: Any) -> bool:
    return isinstance(value, BaseException)


def _refused(profile: Profile, status: int, headers: Mapping[str, str], raw: bytes) -> Failure:
    kind: Kind = "request"
    if 300 <= status < 400:
        return Failure(
            "redirect", f"{profile.name}: {status}: redirects are not followed; correct its endpoint", status
        )
    if status in (401, 402, 403):
        kind = "auth"
    elif status == 429:
        kind = "busy"
    elif status in (408, 425) or status >= 500:
        kind = "server"
    waits = retry_after(headers.get("Retry-After")) if kind in ("busy", "server") else None
    return Failure(kind, f"{profile.name}: {status}: {_shown(raw)}", status, waits, sent=kind == "server")


def retry_after(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header, given as seconds or as a date; None where there is none to be read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _document(profile: Profile, raw: bytes) -> dict[str, Any]:
    try:
        document = _streamed(raw) if raw.lstrip().startswith(b"data:") else json.loads(raw)
    except (ValueError, RecursionError):
        raise Failure("malformed", f"{profile.name}: its answer is no JSON: {_shown(raw)}", 200) from None
    if not isinstance(document, dict):
        raise Failure("malformed", f"{profile.name}: its answer is no object: {_shown(raw)}", 200)
    if (error := document.get("error")) and not document.get("choices"):  # an error that says 200
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        raise _refused(profile, status, {}, json.dumps(error).encode())
    return document


def _streamed(raw: bytes) -> dict[str, Any]:
    """The one completion of a stream, for servers that stream unasked; one that just ends may have been cut off."""
    texts: list[str] = []
    found: dict[str, Any] = {}
    finish = "length"
    for line in raw.splitlines():
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        part = json.loads(line[5:])
        found |= {key: part[key] for key in ("model", "usage", "error") if part.get(key)}
        for choice in part.get("choices") or ():
            texts.append(str((choice.get("delta") or {}).get("content") or ""))
            finish = choice.get("finish_reason") or finish
    return {**found, "choices": [{"message": {"content": "".join(texts)}, "finish_reason": finish}]}


def _tokens(usage: Any, sent: int, said: int) -> Tokens:
    """The server's own count, or an estimate where it counted nothing."""
    usage = usage if isinstance(usage, dict) else {}
    numbers = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    if all(isinstance(one, int) and one >= 0 for one in numbers) and any(numbers):
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
        cached = cached if isinstance(cached, int) and 0 <= cached <= numbers[0] else 0
        return Tokens(int(numbers[0]), int(numbers[1]), cached, True)
    return Tokens(-(-sent // BYTES_A_TOKEN), -(-said // BYTES_A_TOKEN), 0, False)


def _shown(raw: bytes) -> str:
    return " ".join(raw.decode("utf-8", "replace").split())[:MAX_SHOWN] or "nothing"
