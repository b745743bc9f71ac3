"""Leases: marks in a store that say who is using it, whatever the machine.

    leases/<kind>-<random>.json   {"holder"}

The holder writes its lease again every minute. One that was not written for five minutes has expired: its holder was
killed, or cannot reach the store. Times are those that the store itself gives its objects, so clocks of machines do
not count.

A collection writes its lease and then looks for those of runs; a run writes its lease and then looks for a
collection's. So at least one of two that begin at once sees the other: the collection gives way, the run waits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator

from .backends import Backend

RENEW_SECONDS = 60.0
EXPIRY_SECONDS = 300.0
LOOK_SECONDS = 2.0
FOLDER = "leases"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(backend: Backend, kind: str) -> Iterator[None]:
    """Holds a lease, renewed by a thread, until the block ends.

    Args:
        backend: The store's files.
        kind: ``run`` or ``collection``.
    """
    path = f"{FOLDER}/{kind}-{secrets.token_hex(8)}.json"
    data = json.dumps({"holder": f"process {os.getpid()} of {socket.gethostname()}"}).encode()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_SECONDS):
            try:
                backend.write(path, data)
            except Exception as error:  # the next time may do; until then the lease grows older
                log.warning("cannot renew the lease %s/%s: %s", backend.uri, path, error)

    backend.write(path, data)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        try:
            backend.remove(path)
        except Exception as error:  # it expires; the block's own outcome counts
            log.warning("cannot give up the lease %s/%s: %s", backend.uri, path, error)


def holders(backend: Backend, kind: str) -> list[str]:
    """Those who hold an unexpired lease of a kind."""
    names = [name for name in backend.names(FOLDER) if name.startswith(f"{kind}-")]
    if not names:
        return []
    now, found = backend.now(), list[str]()
    for name in names:
        path = f"{FOLDER}/{name}"
        written = backend.modified(path)
        if written is None:
            continue  # given up just now
        if now - written >= EXPIRY_SECONDS:
            backend.remove(path)
            continue
        try:
            found.append(str(json.loads(backend.read(path) or b"{}")["holder"]))
        except (ValueError, KeyError, TypeError):
            found.append("an unknown process")
    return found


def wait_for_collections(backend: Backend) -> None:
    """Returns when nobody collects."""
    told = False
    while found := holders(backend, "collection"):
        if not told:
            log.warning("waiting for `millrace store gc` of %s", found[0])
            told = True
        time.sleep(LOOK_SECONDS)
