"""Fetch one public web page as Markdown: the child process behind `url:` sources.

    echo '{"url": "https://example.org/"}' | env -i python -I agents/sources/fetch.py

Standard output  one JSON object: {"url", "title", "text"} or {"error", "again": true if the network is at fault}

A page is hostile until it is read: every connection goes to an address that was looked at first (so a second
answer of the name server changes nothing), redirects included; size, time and memory are limited; no proxy,
cookie or password is used. It imports nothing of ours, so that it runs with an empty environment.
"""

from __future__ import annotations

import ipaddress
import json
import re
import resource
import signal
import socket
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any

SECONDS = 60  # for everything; a page that comes slower, byte by byte, is given up
CONNECT_SECONDS = 10  # per address
READ_SECONDS = 20  # between two pieces
MAX_BYTES = 2_000_000  # after decompression; the longest pages of Python's documentation have 1 MB
MAX_REDIRECTS = 5  # browsers take 20; documentation needs two
MAX_MEMORY = 2_000_000_000  # bytes of address space; a page of 2 MB parsed takes 200 MB
MAX_DEPTH = 3_000  # frames; nested tags recurse, and real pages nest about 40 deep
CHUNK = 16_384
AGENT = "mailroom (a reader of documentation)"
DROPPED = [
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "footer",
    "aside",
    "form",
    "iframe",
    "svg",
    "head",
    "button",
]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
EMBEDDING = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address


class Refused(Exception):
    """A page that must not or cannot be read; asking again would not change it."""


class Unreachable(Exception):
    """A page that the network did not give this time."""


def literal(host: str) -> Address | None:
    """Return the address that a host is written as, in any form a resolver takes (127.1, 0x7f000001, 2130706433)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def public(address: Address) -> bool:
    """Say whether an address is one of the public internet, with any IPv4 address inside an IPv6 one looked at too."""
    inner: list[Address] = []
    if isinstance(address, ipaddress.IPv6Address):
        inner = [a for a in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if a is not None]
        if address in EMBEDDING:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped:
            return public(address.ipv4_mapped)
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return all(public(one) for one in inner)


def connect(host: str, port: int, private: Sequence[str]) -> socket.socket:
    """Resolve a host once, look at every address, and connect to one that was looked at."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"the name {host} cannot be resolved ({error})") from None
    last = ""
    for family, kind, protocol, _, address in found:
        if address[0] not in private and not public(ipaddress.ip_address(str(address[0]).partition("%")[0])):
            raise Refused(f"{host} is a private or local address; only public ones are read")
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            last = str(error)
        else:
            return connection
    raise Unreachable(f"{host} port {port} does not answer ({last})")


def session(private: Sequence[str]) -> Any:
    """Return a requests session whose every connection is made by `connect`."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self._dns_host, self.port, private)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self._dns_host, self.port, private)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **settings: Any) -> None:
            super().init_poolmanager(*args, **settings)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    opened = requests.Session()
    opened.trust_env = False
    opened.headers.update(
        {"User-Agent": AGENT, "Accept": "text/html, text/*;q=0.9", "Accept-Encoding": "gzip, deflate"}
    )
    for scheme in ("http://", "https://"):
        opened.mount(scheme, Adapter())
    return opened


def download(url: str, private: Sequence[str]) -> tuple[str, str, str | None, bytes]:
    """Return (last URL, content type, charset, body) of a page, following redirects by hand."""
    import requests

    opened = session(private)
    for _ in range(MAX_REDIRECTS + 1):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise Refused(f"leads to {url[:200]!r}, which is no plain http or https address")
        opened.cookies.clear()
        try:
            with opened.get(url, allow_redirects=False, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
                if answer.is_redirect:
                    url = urllib.parse.urljoin(url, answer.headers["location"])
                    continue
                check_status(answer.status_code)
                kind, _, rest = answer.headers.get("content-type", "text/plain").partition(";")
                charset = re.search(r"charset=[\"']?([\w.:-]+)", rest)
                return url, kind.strip().lower(), charset and charset[1], body(answer)
        except (requests.RequestException, OSError) as error:
            raise Unreachable(f"cannot be fetched ({type(error).__name__})") from error
        except (ValueError, UnicodeError) as error:
            raise Refused(f"cannot be asked for ({error})") from error
    raise Refused(f"redirects more than {MAX_REDIRECTS} times")


def check_status(status: int) -> None:
    """Raise for every answer that is no page."""
    if status == 429 or status >= 500:
        raise Unreachable(f"the server answered {status}")
    if status != 200:
        raise Refused(f"the server answered {status}; correct the URL")


def body(answer: Any) -> bytes:
    """Return the whole body, decompressed, or raise Refused once it is too large."""
    pieces, size = [], 0
    for piece in answer.iter_content(CHUNK):
        size += len(piece)
        if size > MAX_BYTES:
            raise Refused(f"is larger than {MAX_BYTES} bytes; save the part that matters as a file: source")
        pieces.append(piece)
    return b"".join(pieces)


def markdown(kind: str, charset: str | None, content: bytes) -> tuple[str, str]:
    """Return (title, Markdown) of a page's bytes."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    if kind not in ("text/html", "application/xhtml+xml"):
        if not (kind.startswith("text/") or kind in ("application/json", "application/xml")):
            raise Refused(f"is {kind[:60]!r} and no text; only text and HTML are read")
        return "", decoded(content, charset)
    page = BeautifulSoup(content, "html.parser", from_encoding=charset)
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for element in page(DROPPED):
        element.decompose()
    main = page.find("main") or page.select_one("[role=main]") or page.find("article") or page.body or page
    converter = MarkdownConverter(heading_style="ATX", strip=["img", "a"], bullets="-", escape_misc=False)
    return title, converter.convert_soup(main)


def decoded(content: bytes, charset: str | None) -> str:
    """Return bytes as text; an unknown charset is read as UTF-8."""
    try:
        return content.decode(charset or "utf-8", "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def fetch(url: str, private: Sequence[str] = ()) -> dict[str, Any]:
    """Return {"url", "title", "text"} of a page, or {"error", "again"}; `private` addresses are taken for public."""
    try:
        last, kind, charset, content = download(url, private)
        title, text = markdown(kind, charset, content)
    except (Refused, Unreachable) as error:
        return {"error": str(error), "again": isinstance(error, Unreachable)}
    except (RecursionError, MemoryError) as error:
        return {"error": f"is too deeply nested to be read ({type(error).__name__})", "again": False}
    return {"url": last, "title": title, "text": text}


def run() -> int:
    """Read what is asked from standard input, write the page to standard output."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    sys.setrecursionlimit(MAX_DEPTH)
    asked = json.load(sys.stdin)
    signal.alarm(asked.get("seconds", SECONDS))  # the one limit that a server cannot stretch with a byte now and then
    json.dump(fetch(asked["url"], asked.get("private", ())), sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
