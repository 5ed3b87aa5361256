"""A server on loopback that answers with the bytes it is given, however wrong: what no HTTP library would send."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

Reply = bytes | Callable[[Any], None]


class Raw:
    """Answers each request by the next of `replies`, the last one for ever; `heard` holds the requests' heads."""

    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None, greeting: bytes = b"") -> None:
        self.replies, self.tls, self.greeting, self.heard = list(replies), tls, greeting, list[str]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' * bool(self.tls)}://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.ended.is_set():
                threading.Thread(target=self._serve, args=[self._listener.accept()[0]], daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw:
            raw.sendall(self.greeting)
            connection = self.tls.wrap_socket(raw, server_side=True) if self.tls else raw
            with connection:
                while self._exchange(connection):
                    pass

    def _exchange(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0) - len(body)
        while left > 0:
            left -= len(connection.recv(65536))
        self.heard.append(head.decode())
        reply = self.replies[min(len(self.heard), len(self.replies)) - 1]
        if callable(reply):
            reply(connection)
            return False
        connection.sendall(reply)
        return True

    def drip(self, first: bytes, again: bytes) -> Callable[[socket.socket], None]:
        """A reply that begins and never ends."""

        def reply(connection: socket.socket) -> None:
            connection.sendall(first)
            while not self.ended.is_set():
                time.sleep(0.01)
                connection.sendall(again)

        return reply


def http(body: bytes, status: str = "200 OK", *headers: bytes) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *headers, b"", b""]
    return b"\r\n".join(lines) + body


def said(content: Any, finish: Any = "stop", **more: Any) -> bytes:
    """A chat completion that says anything at all."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return http(json.dumps({"choices": [choice], "usage": usage, **more}).encode())
