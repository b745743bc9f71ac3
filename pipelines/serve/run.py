"""Starts the server: loads the package, binds the socket, settles who may talk to it, and runs until Ctrl-C."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from millrace.model.package.package import Weights

from .app import make_app
from .http.access import is_local
from .http.connections import Connection
from .served import load

TOKEN_VARIABLE = "MILLRACE_TOKEN"
SHUTDOWN_SECONDS = 5


class ServeError(Exception):
    """The server cannot start and the user can mend it."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; bound before the model loads, so that a taken port is known at once.

    Raises:
        ServeError: The host is unknown or the port taken.
    """
    if not 0 <= port <= 65_535:
        raise ServeError(f"got the port {port}, expected 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host} port {port} ({error}): choose another with --host and --port"
        ) from None
    return listener


def configured(app: Starlette, connection: type[Connection] = Connection) -> uvicorn.Config:
    """How uvicorn runs the application.

    Args:
        app: The application.
        connection: How long it waits for clients.
    """
    return uvicorn.Config(
        app,
        http=connection,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def serve(
    package: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    weights: Weights = "float32",
    rows: int = 4,
    max_waiting: int = 64,
    announce: Callable[[str], None] = print,
) -> None:
    """Serves a package until it is interrupted.

    Args:
        package: The package folder.
        host: Address to bind. On any but this machine's own, a bearer token is asked for: the environment variable
            ``MILLRACE_TOKEN``, or one that is made up and announced once. A token in the variable counts on
            localhost too.
        port: Port to bind; 0 takes a free one.
        weights: ``float32`` or ``int4``.
        rows: How many answers grow at once.
        max_waiting: How many more may wait; see ``make_app``.
        announce: Takes the lines for the user.

    Raises:
        ServeError: The socket cannot be bound.
        PackageError: The folder is no package.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    made_up = token is None and not is_local(host)
    if made_up:
        token = secrets.token_urlsafe(32)
    with bind(host, port) as listener:
        served = load(package, weights, rows=rows)
        shown = f"[{host}]" if ":" in host else host
        announce(
            f"{served.name} ({weights}, {served.context_tokens} tokens of context) answers on "
            f"http://{shown}:{listener.getsockname()[1]}/v1"
        )
        if made_up:
            announce(f"Token (shown only now; set {TOKEN_VARIABLE} to choose one): {token}")
        app = make_app(served, token=token, local=is_local(host), max_waiting=max_waiting)
        try:
            uvicorn.Server(configured(app)).run(sockets=[listener])
        except KeyboardInterrupt:
            announce("stopped")
