"""Who may ask: the token, and the Host header of a server that is only for this machine.

A page that is open in the user's browser can reach a server on localhost, by DNS rebinding or a form. Its requests name
the page's host, so a local server answers only what is addressed to this machine, on every path: also ``/health`` and
one that does not exist say that a server is there. Whoever shows the token needs no such proof.
"""

from __future__ import annotations

import hmac
import ipaddress

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from millrace.pipelines.serve.openai_types import ApiError, error_response

OPEN_PATH = "/health"  # for load balancers, which have no token
NETWORK_BITS = 64  # of an IPv6 address: one client has all of the addresses below


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def client_of(request: Request) -> str:
    """Who asks, for taking turns: the address, of IPv6 its network."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped:
        return host
    return str(ipaddress.IPv6Network((int(address), NETWORK_BITS), strict=False))


class Access:
    """The application behind the token and the Host header.

    Args:
        app: The application.
        token: The bearer token that every path but ``/health`` asks for; None asks for none.
        local: Whether the server is for this machine only.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, local: bool) -> None:
        self._app, self._token, self._local = app, token, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers in place of the application where it may not be asked."""
        problem = self._problem(Request(scope)) if scope["type"] == "http" else None
        await (error_response(problem) if problem else self._app)(scope, receive, send)

    def _problem(self, request: Request) -> ApiError | None:
        if self._token is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(given.strip().encode("latin-1"), self._token.encode())
            if scheme.lower() == "bearer" and known:
                return None
            if request.url.path != OPEN_PATH:
                message = "got no valid token, expected the header 'Authorization: Bearer TOKEN'"
                return ApiError(401, message, kind="authentication_error", code="invalid_api_key")
        host = request.url.hostname or ""
        if self._local and not is_local(host):
            message = (
                f"got the Host {host!r}, expected localhost: start the server with --host to serve others"
            )
            return ApiError(403, message, code="host_not_allowed")
        return None
