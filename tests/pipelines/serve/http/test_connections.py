"""Half a request, an idle connection and a client that does not read: none of them keeps others out, on real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millrace.pipelines.serve.http.connections import Connection

POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n"
HALVES = {
    "nothing": b"",
    "half a line": b"POST /v1/comple",
    "half a head": POST,
    "half a body": POST + b"\r\n{",
    "a body that nobody reads": b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{",
}


class Impatient(Connection):
    """Waits as short as a test should."""

    head_seconds = body_seconds = reader_seconds = 0.8


class Crowded(Connection):
    """Waits long, for few."""

    most_unasked = 20


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection; an error when it does not."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            data += part
    return data


@contextlib.contextmanager
def sent(url: str, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have sent this and no more."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(url)) for _ in range(count)]
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
        yield connections


def healthy(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/health", timeout=10) as response:
        return bool(response.status == 200)


def test_half_a_request_is_waited_for_a_while(launch: Callable[..., Any]) -> None:
    """Then the connection is closed; who has sent a part of a request and has had no answer is told why."""
    server = launch(connection=Impatient)
    with contextlib.ExitStack() as stack:
        connections = {half: stack.enter_context(sent(server.url, 3, data)) for half, data in HALVES.items()}
        answers = {half: {read_all(one) for one in group} for half, group in connections.items()}
    assert answers["nothing"] == {b""}
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers["a body that nobody reads"])
    for half in ("half a line", "half a head", "half a body"):
        (answer,) = answers[half]
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert json.loads(body)["error"]["code"] == "request_timeout"
    assert healthy(server.url)


def test_a_body_in_drops_is_as_slow_as_half_a_body(launch: Callable[..., Any]) -> None:
    """The time counts from the body's beginning, not from the last byte."""
    server = launch(connection=Impatient)
    with connect(server.url) as connection:
        connection.sendall(HALVES["half a body"])
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                time.sleep(0.05)
                connection.sendall(b" ")
        connection.settimeout(10)
        assert read_all(connection)[:12] in (b"HTTP/1.1 408", b"")


@pytest.mark.parametrize("half", HALVES)
def test_500_half_sent_requests_keep_nobody_out(launch: Callable[..., Any], half: str) -> None:
    """The oldest of more than may wait are closed at once, and a whole request is answered meanwhile and after."""
    server = launch(connection=Crowded)
    with sent(server.url, 250, HALVES[half]) as connections:
        assert healthy(server.url)
        with sent(server.url, 250, HALVES[half]) as more:
            assert healthy(server.url)
            deadline = time.monotonic() + 10
            while len(server.uvicorn.server_state.connections) > 22:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert is_closed(connections[0])
            assert half == "a body that nobody reads" or not is_closed(more[-1])
    assert healthy(server.url)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_the_connection_that_goes_is_one_of_the_client_that_has_most(launch: Callable[..., Any]) -> None:
    """An honest client is slow, and the first of all; the crowd comes from another address."""
    server = launch(connection=Crowded)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)) as honest:
        honest.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        with sent(server.url, 60, b"") as crowd:
            assert healthy(server.url)
            assert is_closed(crowd[0])
            honest.sendall(b"Connection: close\r\n\r\n")
            assert read_all(honest).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_is_not_waited_for(launch: Callable[..., Any]) -> None:
    """Its row is free and its connection closed, though it never takes the answer."""
    server = launch(connection=Impatient)
    body = json.dumps(
        {"prompt": [[9] * 100] * 16, "n": 16, "max_tokens": 0, "echo": True, "logprobs": 5}
    ).encode()
    with connect(server.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(POST.replace(b"90", str(len(body)).encode()) + b"\r\n" + body)
        deadline = time.monotonic() + 60
        while server.uvicorn.server_state.total_requests < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while server.uvicorn.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_body_in_the_smallest_chunks_is_refused_before_it_takes_long(launch: Callable[..., Any]) -> None:
    """A hundred thousand chunks of a byte each; others are answered, and chunks that are larger are taken."""
    server = launch()
    head = POST.replace(b"Content-Length: 90", b"Transfer-Encoding: chunked") + b"\r\n"
    with connect(server.url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head + b"1\r\n \r\n" * 100_000)
        assert healthy(server.url)
        assert read_all(connection)[:12] in (b"HTTP/1.1 400", b"")
    with connect(server.url) as connection:
        connection.sendall(head + b'a\r\n{"prompt":\r\n1\r\n3\r\n1\r\n}\r\n0\r\n\r\n')
        assert b"prompt: Input should be" in connection.recv(65_536)


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"],
)
def test_what_is_no_http_is_refused_like_everything_else(launch: Callable[..., Any], data: bytes) -> None:
    """A client of TLS, another version, two hosts; also after a request that was answered."""
    server = launch()
    good = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for first in (b"", good):
        with connect(server.url) as connection:
            if first:
                connection.sendall(first)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            connection.sendall(data + b"\r\n\r\n")
            head, _, body = read_all(connection).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400")
            assert "no HTTP/1.1 request" in json.loads(body)["error"]["message"]


def test_requests_on_one_connection_have_their_time_each(launch: Callable[..., Any]) -> None:
    """A connection that lives longer than one request may take is kept while its requests come whole."""
    server = launch(connection=Impatient)
    with connect(server.url) as connection:
        for _ in range(5):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            time.sleep(0.2)
