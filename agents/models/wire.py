"""One POST to a model's endpoint, the whole of it within its time: connecting, sending, headers and body, however slow.

Nothing is followed (no redirects), nothing is kept (no cookies), and of the environment only a company's own
certificates are taken (no proxies, no .netrc). A `requests.Session` would read all of a redirect's body first.
"""

from __future__ import annotations

import http.client
import io
import os
import ssl
import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from requests import exceptions
from requests.adapters import HTTPAdapter

from agents.models.endpoint import Failure

MAX_BODY = 16 * 1024 * 1024  # bytes of an answer: what is longer is no chat completion
CONNECT_S = 10.0  # to a server that is there; the profile's own time is for thinking
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # variables that name a file or folder of them
HEADERS = {"User-Agent": "mailroom", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "keep-alive"}


class _Clocked(io.RawIOBase):
    """What a socket receives within the time-out that it has now: TimeoutError then, though it drips for ever."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._raw = socket, socket.makefile("rb", buffering=0)
        self._end = time.monotonic() + socket.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if (left := self._end - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Clocked(sock))


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _SecureConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Wire(HTTPAdapter):
    """Connections that stay open between calls; one thread's own."""

    def __init__(self) -> None:
        super().__init__()
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        self._verify: str | bool = next(filter(None, map(os.environ.get, CERTIFICATES)), None) or True

    def post(
        self, url: str, headers: Mapping[str, str], data: bytes, timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body; of a redirect none); raises Failure, whose text is not yet free of keys."""
        timeout: Any = urllib3.Timeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))
        try:
            asked = requests.Request("POST", url, headers={**HEADERS, **headers}, data=data).prepare()
            with self.send(asked, stream=True, timeout=timeout, verify=self._verify) as response:
                status, redirected = response.status_code, 300 <= response.status_code < 400
                raw = b"" if redirected else response.raw.read(MAX_BODY + 1, decode_content=True)
            if len(raw) > MAX_BODY:
                raise Failure("malformed", f"more than {MAX_BODY:,} bytes of answer", status)
            return status, response.headers, raw
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # those of requests are OSErrors, too
            raise _failure(error) from None


def _failure(error: Exception) -> Failure:
    """What an error of requests, urllib3 or the system comes to; `sent` unless it is certain that nothing was."""
    lowest = _lowest(error)
    words = (getattr(lowest, "strerror", None) or "").lower() or str(lowest) or type(lowest).__name__
    words = " ".join(words.split())
    if isinstance(error, exceptions.ConnectTimeout):
        return Failure("timeout", words, sent=False)
    if isinstance(error, exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return Failure("timeout", words)
    if isinstance(lowest, ssl.SSLError):
        wrong = isinstance(lowest, ssl.SSLCertVerificationError) or "WRONG_VERSION_NUMBER" in str(lowest)
        return Failure("auth" if wrong else "connection", words, sent=not wrong)  # others pass: a record that was torn
    unsent = "NewConnectionError" in repr(error) or "NameResolution" in repr(error)
    unsent = unsent or isinstance(error, exceptions.InvalidURL | exceptions.InvalidHeader)
    unsent = unsent or type(error) is OSError  # no certificates where they should be: all others are wrapped
    return Failure("connection", words, sent=not unsent)


def _lowest(error: BaseException) -> BaseException:
    """The error that another one was made of, at the bottom."""
    while below := next(filter(_is_error, (getattr(error, "reason", None), *error.args, error.__context__)), None):
        error = below
    return error


def _is_error(value: Any) -> bool:
    return isinstance(value, BaseException)
