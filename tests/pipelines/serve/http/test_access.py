"""Who may ask: the token, the Host header where the server is local, and whose turn a request takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from millrace.pipelines.serve.http.access import Access, client_of, is_local

LOCAL = ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]")
OPEN = ("0.0.0.0", "::", "example.org", "localhost.evil.example", "")


@pytest.mark.parametrize("host", [*LOCAL, *OPEN])
def test_only_this_machines_own_addresses_are_local(host: str) -> None:
    """What decides whether a token is needed."""
    assert is_local(host) is (host in LOCAL)


def status(path: str, token: str | None, local: bool, **headers: str) -> int:
    """What a request gets; 200 where it reaches the application."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent.append({"status": 200})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    asyncio.run(Access(app, token=token, local=local)(scope, Request(scope).receive, send))
    return int(sent[0]["status"])


TOKEN = "Bearer secret"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/none", "/"])
@pytest.mark.parametrize(
    ("token", "local", "headers", "expected"),
    [
        (None, True, {"host": "localhost:8000"}, 200),
        (None, True, {"host": "[::1]"}, 200),
        (None, True, {"host": "evil.example"}, 403),
        (None, True, {"host": "127.0.0.1.evil.example:8000"}, 403),
        ("secret", True, {"host": "proxy.example", "authorization": TOKEN}, 200),
        ("secret", False, {"host": "me.example", "authorization": TOKEN}, 200),
        ("secret", False, {"host": "me.example", "authorization": "bearer  secret "}, 200),
        ("secret", True, {"host": "localhost", "authorization": "Bearer secre"}, 401),
        ("secret", False, {"host": "me.example", "authorization": "secret"}, 401),
        ("secret", False, {"host": "me.example"}, 401),
    ],
)
def test_every_path_is_guarded_and_health_needs_no_token(
    path: str, token: str | None, local: bool, headers: dict[str, str], expected: int
) -> None:
    if path == "/health" and expected == 401:
        expected = 200
    assert status(path, token, local, **headers) == expected


def test_health_of_a_local_server_with_a_token_answers_no_other_host() -> None:
    assert status("/health", "secret", True, host="evil.example") == 403
    assert status("/health", "secret", False, host="me.example") == 200


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("a socket", "a socket", True),
    ],
)
def test_a_client_is_an_address_or_an_ipv6_network(first: str, second: str, same: bool) -> None:
    """Whoever has one address of IPv6 has 2**64 of them."""

    def client(host: str) -> Any:
        return client_of(Request({"type": "http", "headers": [], "client": (host, 1)}))

    assert (client(first) == client(second)) is same
    assert client_of(Request({"type": "http", "headers": []})) == ""
