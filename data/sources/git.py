"""The files of a git repository at one commit, each a document, with the language that it is written in.

Blobs are read, and not the working tree: the commit then says which bytes were read, on any machine, and a repository
without a working tree (``git clone --bare``, a mirror) is as good. Uncommitted changes are no part of a source; use the
source ``files`` to read a working tree from disk. Everything comes from git's own plumbing, which knows packs,
alternates, worktrees and SHA-256, and runs no hook, filter or other program that a repository configures: ``ls-tree``
says at planning time which files there are and how large, and one ``cat-file --batch`` for each part reads them, about
as fast as the disk. The bytes of every blob are hashed again: a damaged object is a malformed record.

References:
    git-ls-tree(1), git-cat-file(1) (BATCH OUTPUT), gitglossary(7). SPDX specification 2.3, annex E (licence
    identifiers in source files).
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from millrace.data.sources.bytes.encodings import UnknownEncodingError, decode, marked_encoding

from .records import PART_BYTES, Malformed, Options, Record, SourceError

PART_FILES = 10_000
BINARY_BYTES = 8000  # where git itself looks for a null byte
HIDDEN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
"""Variables that a hook or a rebase sets, which would have git read another repository."""
SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() -]*[A-Za-z0-9.+)])")
SPDX_CHARACTERS = 4096

EXCLUDED = (
    *("node_modules", "bower_components", "jspm_packages", "vendor", "_vendor", "vendored", "third_party"),
    *("3rdparty", "thirdparty", "site-packages", "Pods", "Carthage"),
    *(
        "*.min.js",
        "*.min.css",
        "*.map",
        "*.lock",
        "*-lock.json",
        "*-lock.yaml",
        "npm-shrinkwrap.json",
        "go.sum",
    ),
    *("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.pb.go", "*.pb.cc", "*.pb.h", "*.g.dart", "*.designer.cs"),
    *("*.svg", "*.po"),
)
"""What is not read unless ``exclude`` says otherwise: copies of other projects, minified and generated files, lists of
versions and digests, drawings, translations of messages."""


@dataclass(frozen=True)
class Selection:
    """The files of a commit to read; a pattern without a slash is for a file's or folder's name anywhere, one
    with a slash for a path from the root, and what is below it.

    Attributes:
        include: Only these; None: all.
        exclude: Not these.
        languages: Only files in these languages, as ``programming_languages`` calls them; None: all.
    """

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = EXCLUDED
    languages: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Commit:
    """A commit of a repository: its folder as it was given, the name that addresses have, and the commit's id."""

    folder: str
    name: str
    id: str


@dataclass(frozen=True)
class File:
    """One file of a commit.

    Attributes:
        uri: ``git+NAME@COMMIT:path``.
        path: From the root of the repository.
        blob: Id of its content.
        size_bytes: The content's size.
        skipped: Why it is not read; empty when it is.
    """

    uri: str
    path: str
    blob: str
    size_bytes: int
    skipped: str = ""


@dataclass(frozen=True)
class Part:
    """Files of a commit that are read together, and how."""

    commit: Commit
    files: tuple[File, ...]
    options: Options
    languages: tuple[str, ...] | None


def find(folder: str, revision: str = "HEAD", name: str | None = None) -> Commit:
    """The commit that a revision names now.

    Args:
        folder: A working tree, a folder inside of one, or a bare repository.
        revision: A branch, tag, or commit id.
        name: The repository's name in addresses; None takes where its remote is, else the folder's name.

    Raises:
        SourceError: There is no git, repository or such commit.
    """
    if "://" in folder or re.match(r"[\w.-]+@[\w.-]+:", folder):
        raise SourceError(
            f"got repository {without_secrets(folder)}, expected a local folder: git clone it first, --bare is enough"
        )
    if not os.path.isdir(folder):
        raise SourceError(
            f"got repository {folder!r}, expected a folder with a git repository: check the path, which counts from "
            "the spec's folder"
        )
    # A leading dash would be an option.
    told = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if told.returncode:
        problem = told.stderr.decode(errors="replace").strip().split("\n")[0]
        raise SourceError(
            f"got repository {folder!r} and revision {revision!r}, expected a commit of a git repository: {problem}"
        )
    return Commit(folder, name or _name(folder), told.stdout.decode().strip())


def _name(folder: str) -> str:
    """The name of a repository: ``host/owner/name`` of its remote, else its folder's name."""
    remote = _git(folder, "config", "--get", "remote.origin.url").stdout.decode(errors="replace").strip()
    if remote and ("://" in remote or ":" in remote) and not remote.startswith("file:"):
        # scp's form has a colon before the path; a port is no part of the name.
        name = re.sub(r"^[a-z+]+://", "", without_secrets(remote))
        return re.sub(r":(\d+(?=/))?/?", "/", name, count=1).removesuffix("/").removesuffix(".git")
    top = _git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir").stdout.decode().strip()
    top = top.removesuffix("/.git").removesuffix(".git")
    return os.path.basename(top.rstrip("/")) or "repository"


def without_secrets(address: str) -> str:
    """A remote's address without user, password and query."""
    return re.sub(r"^([a-z+]+://)?[^/]*@", r"\1", address).split("?")[0]


def _git(folder: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(_command(folder, *arguments), capture_output=True, env=_environment())


def _command(folder: str, *arguments: str) -> list[str]:
    return ["git", "-C", folder, *arguments]


def _environment() -> dict[str, str]:
    """Git's environment: this repository, its real objects, nothing fetched, nothing asked."""
    from shutil import which

    if which("git") is None:
        raise SourceError(
            "got a git source, but git is not installed; expected the command git: install it, or read exported files "
            "with type: files"
        )
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return {
        **kept,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def plan(commit: Commit, selection: Selection, options: Options) -> list[Part]:
    """Cuts a commit's files into parts of about ``PART_BYTES``, in the order of their paths.

    Raises:
        SourceError: There are none, or git cannot list them.
    """
    files = list_files(commit, selection)
    if not any(not file.skipped for file in files):
        raise SourceError(
            f"got {len(files)} files in {commit.name}@{commit.id[:12]}, none of which is to be read: look at include, "
            "exclude and the revision"
        )
    parts: list[Part] = []
    group: list[File] = []
    size = 0
    for file in files:
        read_bytes = 0 if file.skipped else min(file.size_bytes, options.max_document_bytes)
        if group and (size + read_bytes > PART_BYTES or len(group) == PART_FILES):
            parts.append(Part(commit, tuple(group), options, selection.languages))
            group, size = [], 0
        group.append(file)
        size += read_bytes
    parts.append(Part(commit, tuple(group), options, selection.languages))
    return parts


def list_files(commit: Commit, selection: Selection) -> list[File]:
    """A commit's files under the folder that was given, those that are not read with the reason.

    Raises:
        SourceError: Git cannot list them.
    """
    told = _git(commit.folder, "ls-tree", "-r", "-z", "-l", "--full-name", commit.id)
    if told.returncode:
        problem = told.stderr.decode(errors="replace").strip().split("\n")[0]
        raise SourceError(
            f"got a repository {commit.folder!r} whose files git cannot list, expected a whole clone: {problem}"
        )
    include, exclude = _Patterns(selection.include or ()), _Patterns(selection.exclude)
    files = []
    for line in told.stdout.split(b"\0")[:-1]:
        facts, _, name = line.partition(b"\t")
        mode, kind, blob, size = facts.decode().split()
        path = name.decode("utf-8", "backslashreplace")
        if selection.include is not None and not include.found(path):
            continue
        skipped = ""
        if kind == "commit":
            skipped = (
                "got a submodule, which is a repository of its own: make it a source if it is to be read"
            )
        elif mode == "120000":
            skipped = "got a symbolic link, which is not followed"
        elif pattern := exclude.found(path):
            skipped = f"got a path that exclude has a pattern for ({pattern})"
        uri = f"git+{commit.name}@{commit.id}:{path}"
        files.append(File(uri, path, blob, int(size) if size.isdigit() else 0, skipped))
    return files


class _Patterns:
    """Finds the pattern that fits a path."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._names = [pattern for pattern in patterns if "/" not in pattern]
        self._paths = [pattern.strip("/") for pattern in patterns if "/" in pattern]
        self._name = re.compile("|".join(map(fnmatch.translate, self._names)) or r"(?!)")

    def found(self, path: str) -> str:
        """The pattern, or nothing."""
        parts = path.split("/")
        for part in parts:
            if self._name.match(part):
                return next(pattern for pattern in self._names if fnmatch.fnmatchcase(part, pattern))
        for pattern in self._paths:
            if fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"{pattern}/*"):
                return pattern
        return ""


def read(part: Part) -> Iterator[Record | Malformed]:
    """Streams the documents of one part."""
    limit = part.options.max_document_bytes
    wanted = [file for file in part.files if not file.skipped and file.size_bytes <= limit]
    contents = _contents(part.commit, wanted)
    for file in part.files:
        if file.skipped:
            yield Malformed(file.uri, "", file.skipped, file.size_bytes, rule="skipped")
        elif file.size_bytes > limit:
            problem = f"got {file.size_bytes} bytes, expected at most max_document_bytes = {limit}"
            yield Malformed(file.uri, "", problem, file.size_bytes)
        else:
            yield _document(part, file, next(contents))


def _contents(commit: Commit, files: Sequence[File]) -> Iterator[bytes | None]:
    """Each file's bytes, None for one that git cannot give, whole and as its id says."""
    done = 0
    while (start := done) < len(files):
        # The ids come from a file, so that neither side waits for the other; git ends at an object that is damaged.
        with tempfile.TemporaryFile() as ids:
            ids.write(b"".join(file.blob.encode() + b"\n" for file in files[done:]))
            ids.seek(0)
            with subprocess.Popen(
                _command(commit.folder, "cat-file", "--batch", "--buffer"),
                stdin=ids,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            ) as process:
                assert process.stdout is not None
                try:
                    while done < len(files) and (head := process.stdout.readline()):
                        words = head.split()
                        data = None
                        if len(words) == 3 and words[1] == b"blob":
                            size = int(words[2])
                            data = process.stdout.read(size + 1)[:size]
                            data = data if _id(data, len(files[done].blob)) == files[done].blob else None
                        yield data
                        done += 1
                finally:
                    process.kill()
        if done == start:
            yield None
            done += 1


def _id(data: bytes, digits: int) -> str:
    """The id that git gives to a blob, of 40 or 64 hexadecimal digits."""
    digest = hashlib.new("sha1" if digits == 40 else "sha256", usedforsecurity=False)
    digest.update(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


def _document(part: Part, file: File, data: bytes | None) -> Record | Malformed:
    """A file as a document, or why it is none."""
    from .programming_languages import PROSE, language_of

    uri, options = file.uri, part.options
    if data is None:
        problem = f"got no blob {file.blob[:12]}, or other bytes than its id says, expected a whole repository: see git fsck"
        return Malformed(uri, "", problem, file.size_bytes)
    if b"\0" in data[:BINARY_BYTES] and marked_encoding(data[:4]) is None:
        return Malformed(uri, "", "got a binary file, expected text", len(data), rule="skipped")
    if data.startswith(b"version https://git-lfs.github.com/spec/"):
        problem = "got a pointer to a file that git LFS keeps, expected the file itself"
        return Malformed(uri, "", problem, len(data), rule="skipped")
    try:
        text, encoding = decode(data, options.encoding)
    except UnknownEncodingError as error:
        return Malformed(uri, str(error.offset), str(error), len(data))
    if "\0" in text:
        return Malformed(uri, str(text.index("\0")), "got a null character, expected text", len(data))
    if not text.strip():
        return Malformed(uri, "", "got no text", len(data), rule="empty")
    language = language_of(file.path, text)
    if part.languages is not None and language not in part.languages:
        problem = f"got a file in {language}, expected one of languages"
        return Malformed(uri, "", problem, len(data), rule="skipped")
    metadata: dict[str, object] = {
        "repository": part.commit.name,
        "commit": part.commit.id,
        "path": file.path,
        "language": language,
    }
    if encoding is not None:
        metadata["encoding"] = encoding
    if license := _license(text) or options.default_license:
        metadata["license"] = license
    lang = options.default_language if language in PROSE else language
    return Record(uri, "", "", text, lang, metadata)


def _license(text: str) -> str | None:
    """The licence that a file names for itself by SPDX, or None."""
    match = SPDX.search(text, 0, SPDX_CHARACTERS) if "SPDX-" in text[:SPDX_CHARACTERS] else None
    return match[1].strip() if match else None
