"""Pages of HTML as text in child processes: the extractor holds the GIL, and no thread can end a call of it.

A worker reads pages from its standard input and answers on its standard output, each message a line of JSON and so many
bytes. A thread that reads pages takes a worker and puts it back, so there are as many as threads extract at once, all
cores are used, and a failure of the native parser (a crash, all memory, no end) costs one page. A worker ends when its
input does, so none outlives its parent, however that ends. ``cost`` refuses expensive pages beforehand, the same ones
on every machine; the time limit is for cases that it does not foresee.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any

from millrace.data.sources.bytes.encodings import UnknownEncodingError

from .extract import Page, extract

LIMIT_SECONDS = 120.0
MEMORY_BYTES = 4 << 30
"""Of addresses; 12 MB of HTML take less than a tenth."""


class PageError(ValueError):
    """A page gives no text; the message gives the content got and expected; ``offset`` in its bytes."""

    def __init__(self, problem: str, offset: int = 0) -> None:
        super().__init__(problem)
        self.offset = offset


def page_of(content: bytes, charset: str | None = None, *, whole: bool = False) -> Page:
    """A page's text and metadata, by ``extract.extract`` in a child process.

    Args:
        content: The page's bytes.
        charset: Encoding named by the server.
        whole: All visible text instead of the main content.

    Raises:
        PageError: It is refused for what it would cost, ends its parser, or is in no known encoding.
    """
    from .cost import MAX_ATTRIBUTES, MAX_DEPTH, MAX_STEPS, cost

    # Encodings of 16 and 32 bits have a zero byte beside each of ASCII's.
    found = cost(content.replace(b"\0", b""))
    if found.depth > MAX_DEPTH:
        raise PageError(f"got elements nested more than {MAX_DEPTH} deep, expected at most that")
    if found.attributes > MAX_ATTRIBUTES:
        raise PageError(f"got an element of {found.attributes} attributes, expected at most {MAX_ATTRIBUTES}")
    if found.steps > MAX_STEPS:
        raise PageError(f"got elements whose depths add up to {found.steps}, expected at most {MAX_STEPS}")
    worker = _free()
    page = worker.extract(content, charset, whole)
    _idle.append(worker)
    return page


class _Worker:
    def __init__(self) -> None:
        # Its errors go where this process's go.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "millrace.data.sources.html.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.end)

    def end(self) -> int:
        """Ends the process by ending its input; returns its status."""
        atexit.unregister(self.end)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        status = self.process.wait()
        self.process.stdout.close()
        return status

    def extract(self, content: bytes, charset: str | None, whole: bool) -> Page:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _send(self.process.stdin, {"charset": charset, "whole": whole}, content)
            waiting = select.poll()
            waiting.register(self.process.stdout, select.POLLIN | select.POLLHUP)
            if not waiting.poll(LIMIT_SECONDS * 1000):
                self.process.kill()
            facts, text = _receive(self.process.stdout)
        except (OSError, EOFError):
            self.process.kill()
            problem = f"got a page that its parser did not survive (status {self.end()}), expected HTML"
            raise PageError(problem) from None
        if "problem" in facts:
            _idle.append(self)
            raise PageError(facts["problem"], facts["offset"])
        return Page(text.decode(), **facts)


_idle: list[_Worker] = []


def _free() -> _Worker:
    """A worker that nobody has."""
    while True:
        try:
            worker = _idle.pop()  # asked for, because threads race for the last one
        except IndexError:
            return _Worker()
        if worker.process.poll() is None:
            return worker
        worker.end()


def _send(stream: IO[bytes], facts: Mapping[str, Any], content: bytes) -> None:
    stream.write(json.dumps({**facts, "size_bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    facts = json.loads(line)
    content = stream.read(facts.pop("size_bytes"))
    return facts, content


def main() -> None:
    """Answers until the input ends."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and closes the input
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "darwin":  # which refuses it
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        least = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (least, hard))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between answers
    while True:
        try:
            facts, content = _receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            text, *known = extract(content, facts["charset"], whole=facts["whole"])
            _send(out, dict(zip(Page._fields[1:], known, strict=True)), text.encode())
        except UnknownEncodingError as error:
            _send(out, {"problem": str(error), "offset": error.offset}, b"")
        except BaseException as error:  # a Rust library's panic is no Exception
            problem = f"got a page that its parser fails on ({type(error).__name__}), expected HTML"
            _send(out, {"problem": problem, "offset": 0}, b"")


if __name__ == "__main__":
    main()
