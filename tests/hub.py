"""A Hub on localhost: the few routes of its API that huggingface_hub's file system asks, and files with ranges.

Other features of the real service (paging of long listings, redirects to its storage, gated datasets) are missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"


@contextmanager
def hub(files: Mapping[str, bytes], *, token: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serves the dataset ``owner/name`` with a branch ``main`` at ``COMMIT``.

    Args:
        files: Path -> content; may change while it serves.
        token: Token that requests must carry.

    Yields:
        The address, and the requests so far, such as ``GET /api/datasets/owner/name``.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def answer_json(self, value: Any) -> None:
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def refuse(self, status: int, code: str, message: str) -> None:
            self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=message)

        def respond(self) -> None:
            path = unquote(urlsplit(self.path).path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            asked.append(f"{self.command} {path}")
            if token is not None and self.headers.get("Authorization") != f"Bearer {token}":
                return self.refuse(401, "GatedRepo", "Access to dataset owner/name is restricted.")
            match = re.fullmatch(r"(?:/api)?/datasets/owner/name(?:/(\w[\w-]*)/([^/]+)(?:/(.*))?)?", path)
            if match is None:
                return self.refuse(404, "RepoNotFound", "Repository not found")
            kind, revision, inner = match[1] or "revision", match[2] or "main", match[3] or ""
            if revision not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            if kind == "revision":
                return self.answer_json({"id": "owner/name", "sha": COMMIT, "siblings": []})
            if kind == "tree":
                return self.answer_json(tree(inner, recursive="recursive=true" in self.path.lower()))
            if kind == "paths-info":
                wanted = json.loads(body)["paths"]
                return self.answer_json(
                    [entry for entry in tree("", recursive=True) if entry["path"] in wanted]
                )
            if inner not in files:
                return self.refuse(404, "EntryNotFound", "Entry not found")
            data, tag = files[inner], {"ETag": f'"{oid(files[inner])}"', "X_Repo_Commit": COMMIT}
            if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
                first, last = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
                return self.answer(
                    206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **tag
                )
            return self.answer(200, data, **tag)

        do_GET = do_HEAD = do_POST = respond  # noqa: N815 - the server looks for these names

    def tree(folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for path, data in sorted(files.items()):
            if folder and not path.startswith(f"{folder}/"):
                continue
            parts = path[len(folder) + 1 if folder else 0 :].split("/")
            for depth in range(1, len(parts)):
                name = "/".join(filter(None, [folder, *parts[:depth]]))
                if recursive or depth == 1:
                    entries[name] = {"type": "directory", "oid": oid(name.encode()), "size": 0, "path": name}
            if recursive or len(parts) == 1:
                entries[path] = {"type": "file", "oid": oid(data), "size": len(data), "path": path}
        return list(entries.values())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def oid(data: bytes) -> str:
    """An id of some content, as git makes them."""
    return hashlib.sha1(data).hexdigest()
