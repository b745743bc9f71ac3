"""A server of S3's protocol for tests, and a proxy before it that answers as servers do on bad days."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'


def environment(endpoint: str) -> dict[str, str]:
    """The variables that point clients of S3 to a server."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def s3_server(*buckets: str) -> Iterator[int]:
    """moto's server with some buckets, on a port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    for bucket in buckets:
                        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                        connection.request("PUT", f"/{bucket}", headers={"Host": f"127.0.0.1:{port}"})
                        assert connection.getresponse().status == 200
                        connection.close()
                    break
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


class FaultyProxy:
    """Passes requests on to a server, or does what ``mode`` says.

    Modes: ``sound``; ``half`` answers every second request with 500; ``denied`` answers 403; ``silent`` takes requests
    and never answers; ``reset`` closes the connection without an answer.

    Args:
        port: The server's port.
    """

    def __init__(self, port: int) -> None:
        self.mode = "sound"
        self.requests = 0
        self.switch_at: tuple[int, str] | None = None
        self._server_port = port
        self._released = threading.Event()
        self._counted = itertools.count(1)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        self.requests = number = next(self._counted)
        if self.switch_at is not None and number >= self.switch_at[0]:
            self.mode, self.switch_at = self.switch_at[1], None
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if self.mode == "silent":
            self._released.wait(120)
        if self.mode in ("silent", "reset"):
            request.close_connection = True
            with contextlib.suppress(OSError):
                request.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.mode == "denied":
            self._answer(request, 403, ERROR.format(code="AccessDenied").encode())
        elif self.mode == "half" and number % 2:
            self._answer(request, 500, ERROR.format(code="InternalError").encode())
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=60)
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            self._answer(request, answer.status, answer.read(), dict(answer.headers))
            connection.close()

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response_only(status)
        dropped = {"transfer-encoding", "connection"} | (
            {"content-length"} if request.command != "HEAD" else set()
        )
        kept = {name: value for name, value in (headers or {}).items() if name.lower() not in dropped}
        if request.command != "HEAD":
            kept["Content-Length"] = str(len(body))
        for name, value in kept.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def close(self) -> None:
        """Ends the proxy and lets go of everyone who waits."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
