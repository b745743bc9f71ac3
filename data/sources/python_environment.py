"""The installed Python environment as a corpus: real, messy, licensed, and present on every machine.

It reads source files, documentation, licence files and package descriptions of the standard library and of the
distributions that the distribution ``millrace`` requires at run time, transitively. Development tools that happen to
be installed beside them are left out, and so is millrace, so that two machines with the same lock read the same
bytes. Files come from each distribution's RECORD, not from the disk: compiled caches, scripts (whose first line names
a path of the machine) and strays do not count. About 94 distributions, 11,000 Python files and 150 MB.

References:
    PEP 376 and PEP 627 (RECORD), PEP 263 (source encodings), PEP 508 (requirements), PEP 639 (licence expressions).
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import os
import platform
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from .records import PART_BYTES, Malformed, Record, SourceError

Content = Literal["code", "docs", "licences"]

ROOT = "millrace"
STANDARD_LIBRARY = "python"
DOCUMENT_SUFFIXES = (".md", ".rst", ".txt")
LICENCE_NAME = re.compile(r"^(licen[cs]es?|copying|notice|copyright)\b", re.IGNORECASE)
NOT_PROSE = frozenset(
    {"cmakelists.txt", "requirements.txt", "entry_points.txt", "top_level.txt", "sources.txt", "vendor.txt"}
)
# Systems package these apart from Python or leave them out, so they would differ between machines.
STANDARD_LIBRARY_LEFT_OUT = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "ensurepip",
        "distutils",
        "site-packages",
    }
    | {"dist-packages", "lib-dynload", "__pycache__"}
)
REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
CLASSIFIER_LICENCES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


@dataclass(frozen=True)
class Installed:
    """One installed distribution: its normalised name, version, licence (or "") and the folder its RECORD is relative to."""

    name: str
    version: str
    license: str
    folder: str


@dataclass(frozen=True)
class File:
    """One file to read: its distribution, its path as RECORD or the standard library has it, and its size."""

    distribution: Installed
    path: str
    size_bytes: int

    @property
    def uri(self) -> str:
        """The machine-independent address."""
        return f"python://{self.distribution.name}@{self.distribution.version}/{self.path}"


@dataclass(frozen=True)
class Part:
    """Files that are read together.

    Attributes:
        files: In their fixed order.
        content: Kind of their content.
        held_out: Whether their documents are kept out of training.
        max_document_bytes: Larger files are malformed.
    """

    files: tuple[File, ...]
    content: Content
    held_out: bool
    max_document_bytes: int


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _metadata(distribution: importlib.metadata.Distribution) -> str:
    return distribution.read_text("METADATA") or ""


def _header(metadata: str) -> str:
    """The header fields; the body is the description, and parsing it as mail makes importlib slow."""
    return re.split(r"\r?\n\r?\n", metadata, maxsplit=1)[0]


def _field(header: str, name: str) -> list[str]:
    return [value.strip() for value in re.findall(rf"^{name}:[ \t]*(.*)$", header, re.MULTILINE)]


def _licence(header: str) -> str:
    """The SPDX expression, as far as the metadata tells; empty when it does not."""
    if expression := _field(header, "License-Expression"):
        return expression[0]
    named = _field(header, "License")
    if named and 0 < len(named[0]) <= 40 and named[0].upper() != "UNKNOWN":
        return named[0]
    for classifier in _field(header, "Classifier"):
        if classifier.startswith("License ::"):
            last = classifier.split("::")[-1].strip()
            return CLASSIFIER_LICENCES.get(last, last)
    return ""


@cache
def _distribution(name: str) -> importlib.metadata.Distribution:
    """The installed distribution; site-packages comes before the working directory, where builds leave metadata."""
    places = sysconfig.get_paths()
    found = importlib.metadata.Distribution.discover(
        context=importlib.metadata.DistributionFinder.Context(
            name=name, path=list(dict.fromkeys([places["purelib"], places["platlib"], *sys.path]))
        )
    )
    for distribution in found:
        return distribution
    raise importlib.metadata.PackageNotFoundError(name)


def _applies(requirement: str) -> bool:
    """Whether a Requires-Dist line holds here without extras; most are decided without parsing (1,259 lines)."""
    _, _, marker = requirement.partition(";")
    if not marker:
        return True
    if re.search(r"\bextra\s*==", marker) and not re.search(r"\bor\b", marker):
        return False
    from packaging.requirements import Requirement

    parsed = Requirement(requirement).marker
    return parsed is None or parsed.evaluate({"extra": ""})


@cache
def closure(root: str = ROOT) -> tuple[Installed, ...]:
    """The distributions that ``root`` requires at run time, transitively, without ``root``; sorted by name.

    Extras are not followed, and markers are evaluated for the running interpreter.

    Args:
        root: A distribution's name.

    Raises:
        SourceError: ``root`` or a requirement is not installed.
    """
    found: dict[str, Installed] = {}
    queue = [normalised(root)]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            distribution = _distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise SourceError(
                f"got no installed distribution {name!r}, expected it because {root!r} needs it: install from the lock"
            ) from None
        header = _header(_metadata(distribution))
        version = (_field(header, "Version") or ["0"])[0]
        found[name] = Installed(name, version, _licence(header), str(distribution.locate_file("")))
        for line in _field(header, "Requires-Dist"):
            if _applies(line):
                queue.append(normalised(REQUIREMENT_NAME.match(line)[0]))  # type: ignore[index]
    return tuple(found[name] for name in sorted(found) if name != normalised(root))


def standard_library() -> Installed:
    """The running interpreter's standard library as if it were a distribution named ``python``."""
    return Installed(STANDARD_LIBRARY, platform.python_version(), "PSF-2.0", sysconfig.get_paths()["stdlib"])


@cache
def fingerprint(root: str = ROOT) -> tuple[str, ...]:
    """The fingerprint of the corpus, quick enough for planning: Python's version and each distribution's version and
    RECORD.

    Lines of RECORD for scripts, caches and the installer's own notes differ between machines and do not count.

    Returns:
        ``NAME==VERSION RECORD-DIGEST``, one per distribution, sorted.
    """
    result = [f"{STANDARD_LIBRARY}=={platform.python_version()} {platform.python_implementation()}"]
    for installed in closure(root):
        digest = hashlib.blake2b(digest_size=8)
        for line in sorted(_record(installed).splitlines()):
            if not line.startswith("..") and ".pyc," not in line and ".dist-info/" not in line:
                digest.update(line.encode() + b"\n")
        result.append(f"{installed.name}=={installed.version} {digest.hexdigest()}")
    return tuple(result)


def _record(installed: Installed) -> str:
    text = _distribution(installed.name).read_text("RECORD")
    if text is None:
        raise SourceError(
            f"got no RECORD for distribution {installed.name!r}, expected one: install it from a wheel (pip, uv)"
        )
    return text


def _listed(installed: Installed) -> Iterator[str]:
    """Paths of a distribution's files, relative to its folder."""
    if installed.name != STANDARD_LIBRARY:
        for row in csv.reader(io.StringIO(_record(installed))):
            if row and not row[0].startswith(("..", "/")) and "__pycache__" not in row[0]:
                yield row[0]
        return
    # Top-level names that Python itself knows: a system's sitecustomize or _sysconfigdata is not among them.
    known = {f"{name}.py" for name in sys.stdlib_module_names} | sys.stdlib_module_names | {"LICENSE.txt"}
    top = Path(installed.folder)
    for folder, folders, names in os.walk(top):
        relative = Path(folder).relative_to(top)
        folders[:] = sorted(set(folders) - STANDARD_LIBRARY_LEFT_OUT)
        if not relative.parts:
            folders[:] = [name for name in folders if name in known]
            names = [name for name in names if name in known]
        for name in names:
            yield (relative / name).as_posix()


def _is_licence(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    if name.endswith((".py", ".pyc", ".h", ".hpp", ".json")):
        return False
    return bool(LICENCE_NAME.match(name)) or ".dist-info/licenses/" in path


def belongs(path: str, content: Content) -> bool:
    """Whether a file of a distribution is code, documentation or a licence; it is at most one of them."""
    name = path.rsplit("/", 1)[-1]
    if content == "code":
        return name.endswith(".py")
    if content == "licences":
        return _is_licence(path)
    if _is_licence(path):
        return False
    if ".dist-info/" in path:
        return name == "METADATA"
    return name.lower().endswith(DOCUMENT_SUFFIXES) and name.lower() not in NOT_PROSE


def _sample(files: Sequence[File], max_bytes: int | None) -> list[File]:
    """At most ``max_bytes`` of files, spread over the whole source by the hash of their uri, in the given order."""
    if max_bytes is None:
        return list(files)
    chosen, total = set(), 0
    for file in sorted(files, key=lambda file: hashlib.blake2b(file.uri.encode(), digest_size=8).digest()):
        if total + file.size_bytes <= max_bytes:
            total += file.size_bytes
            chosen.add(file)
    return [file for file in files if file in chosen]


def plan(
    content: Content,
    *,
    held_out: Sequence[str] = (),
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    max_bytes: int | None = None,
    max_document_bytes: int = PART_BYTES,
    root: str = ROOT,
) -> list[Part]:
    """Cuts the environment's files of one kind into parts of about ``PART_BYTES``.

    Args:
        content: ``code``, ``docs`` or ``licences``.
        held_out: Distributions that are kept out of training; ``python`` is the standard library.
        include: Only these distributions (and the held-out ones); None is the whole closure and the standard library.
        exclude: Distributions that are left out altogether.
        max_bytes: Cap on the size of the files, apart for held-out ones; the sample is spread over all of them.
        max_document_bytes: Larger files become malformed records.
        root: The distribution whose requirements are the corpus.

    Returns:
        The parts, training before held-out, distributions sorted by name, files by path.

    Raises:
        SourceError: A named distribution is not part of the environment.
    """
    everything = {installed.name: installed for installed in (*closure(root), standard_library())}
    held, left_out = {normalised(name) for name in held_out}, {normalised(name) for name in exclude}
    wanted = set(everything) if include is None else {normalised(name) for name in include}
    unknown = sorted((held | left_out | wanted) - set(everything))
    if unknown:
        import difflib

        close = difflib.get_close_matches(unknown[0], everything, 1)
        raise SourceError(
            f"got distribution {unknown[0]!r}, expected one of the {len(everything)} that {root} requires"
            + (f": did you mean {close[0]!r}?" if close else "; `pip list` shows what is installed")
        )
    parts = []
    for is_held in (False, True):
        names = sorted((held if is_held else wanted - held) - left_out)
        files = []
        for name in names:
            installed = everything[name]
            for path in sorted(_listed(installed)):
                if belongs(path, content):
                    files.append(File(installed, path, _size(installed, path)))
        part: list[File] = []
        size = 0
        for file in _sample(files, max_bytes):
            if part and size + file.size_bytes > PART_BYTES:
                parts.append(Part(tuple(part), content, is_held, max_document_bytes))
                part, size = [], 0
            part.append(file)
            size += file.size_bytes
        if part:
            parts.append(Part(tuple(part), content, is_held, max_document_bytes))
    return parts


def _size(installed: Installed, path: str) -> int:
    try:
        return os.stat(os.path.join(installed.folder, path)).st_size
    except OSError:
        return 0  # read() reports the missing file


def decode_source(content: bytes) -> str:
    """Decodes Python source by its byte order mark or encoding declaration (PEP 263), with ``\\n`` line ends.

    Raises:
        UnicodeDecodeError: The bytes are not in the declared encoding.
        SyntaxError: The declaration names no known encoding.
    """
    if content.isascii() and b"coding" not in content[:400]:
        text = content.decode("ascii")  # nine files of ten, and detect_encoding is slow
    else:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _description(metadata: str) -> str:
    header, _, body = metadata.replace("\r\n", "\n").partition("\n\n")
    if body.strip():
        return body
    match = re.search(r"^Description: (.*(?:\n[ \t|].*)*)", header, re.MULTILINE)
    return re.sub(r"\n(?: {8}| {7}\|)", "\n", match[1]) if match else ""


def read(part: Part) -> Iterator[Record | Malformed]:
    """Streams the documents of one part; each file is one document."""
    lang = "python" if part.content == "code" else "en"
    for file in part.files:
        installed = file.distribution
        try:
            # One byte over the limit tells "too large" without reading the rest.
            with open(os.path.join(installed.folder, file.path), "rb") as stream:
                content = stream.read(part.max_document_bytes + 1)
        except OSError as error:
            problem = f"got {error.strerror}, expected the file that RECORD lists"
            yield Malformed(file.uri, "", problem, file.size_bytes)
            continue
        if len(content) > part.max_document_bytes:
            problem = f"got more than {part.max_document_bytes} bytes, expected at most max_document_bytes"
            yield Malformed(file.uri, "", problem, file.size_bytes)
            continue
        is_metadata = part.content == "docs" and file.path.endswith(".dist-info/METADATA")
        try:
            text = decode_source(content) if part.content == "code" else decode_prose(content)
        except (UnicodeDecodeError, SyntaxError, LookupError) as error:
            offset = str(error.start) if isinstance(error, UnicodeDecodeError) else ""
            yield Malformed(file.uri, offset, f"got {error}, expected text", len(content))
            continue
        if is_metadata:
            text = _description(text)
        if not text.strip():
            yield Malformed(file.uri, "", "got no text", len(content), rule="empty")
            continue
        metadata = {"distribution": installed.name, "version": installed.version, "path": file.path}
        if installed.license:
            metadata["license"] = installed.license
        locator = "description" if is_metadata else ""
        yield Record(file.uri, locator, locator, text, lang, metadata, part.held_out)


def decode_prose(content: bytes) -> str:
    """Decodes UTF-8 text with or without a byte order mark, with ``\\n`` line ends.

    Raises:
        UnicodeDecodeError: The bytes are not UTF-8.
    """
    text = content.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
