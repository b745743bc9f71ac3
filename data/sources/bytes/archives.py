"""Members of tar and zip archives, read in order and one at a time; nothing is unpacked to disk.

Damage is handled here and not by the standard library: Python's ``tarfile`` silently stops at a bad header, and
``zipfile`` opens no file whose directory, at its end, is cut off. Here a bad tar header costs the bytes up to the next
good one, and a zip without its directory is read by the headers of its members. A member's name is only a part of an
address and never a path, so it cannot point anywhere.

References:
    POSIX.1-2017, pax, section ustar Interchange Format; APPNOTE.TXT 6.3.10, .ZIP File Format Specification, 4.3.
"""

from __future__ import annotations

import io
import itertools
import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from millrace.data.sources.records import Malformed, Options, Where

from .streams import READ_BYTES, Damaged, Decompressed, Peeked, rest_of

BLOCK = 512
MAX_NAME_BYTES = 1 << 20
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
LOCAL_MAGIC = b"PK\x03\x04"
METHODS = {8: "deflate", 12: "bzip2", 93: "zstd"}
ENCRYPTED, HAS_DESCRIPTOR = 1, 8

ZIP_ERRORS = (
    zipfile.BadZipFile, OSError, ValueError, NotImplementedError, IndexError, struct.error, zlib.error,
)  # fmt: skip

Member = tuple[Where, Any] | Malformed


class Window:
    """The next bytes of a stream, as a stream; too few are damage."""

    def __init__(self, raw: Any, size: int) -> None:
        self._raw = raw
        self.left = size
        self.damage: Damaged | None = None

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes."""
        wanted = self.left if size < 0 else min(size, self.left)
        if not wanted:
            return b""
        try:
            block = bytes(self._raw.read(wanted))
        except OSError as error:
            self.damage = error if isinstance(error, Damaged) else Damaged(f"got {error}")
            raise self.damage from error
        if not block:
            self.damage = Damaged(f"got the end of the archive {self.left} bytes before the end of a member")
            raise self.damage
        self.left -= len(block)
        return block

    def seekable(self) -> bool:
        """It cannot seek."""
        return False


def tar_members(stream: Any, where: Where, options: Options) -> Iterator[Member]:
    """The files of a tar archive, each with a stream that is good until the next one is asked for."""
    offset = 0
    long_name, skipped, zeros = None, 0, 0
    names: set[str] = set()
    while True:
        try:
            block = _exactly(stream, BLOCK)
        except Damaged as error:
            yield rest_of(where, offset, error)
            return
        start, offset = offset, offset + len(block)
        info = _tar_header(block)
        if info is None and len(block) == BLOCK:
            # A block of zeros is the end mark, or a header that was lost.
            zeros += not block.strip(b"\0")
            skipped += len(block)
            continue
        if info is None and block.strip(b"\0"):
            skipped += len(block)
        if skipped > zeros * BLOCK or (zeros and info is not None):
            problem = f"got {skipped} bytes that are no header of a tar archive"
            yield Malformed(where.uri, str(start - skipped), problem, skipped, is_stretch=True)
        if info is None:
            if not zeros:
                problem = "got no end mark of a tar archive, expected a whole one"
                yield Malformed(where.uri, str(start), problem)
            return
        skipped = zeros = 0
        window = Window(stream, info.size)
        padding = -info.size % BLOCK
        offset += info.size + padding
        try:
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE) and info.size <= MAX_NAME_BYTES:
                data = _exactly(window, info.size)
                is_pax = info.type == tarfile.XHDTYPE
                long_name = (
                    (_pax_path(data) or long_name)
                    if is_pax
                    else data.rstrip(b"\0").decode("utf-8", "replace")
                )
                _exactly(stream, padding)
                continue
            if info.isreg():
                name, long_name = _name(long_name or info.name), None
                member = Where(f"{where.uri}!/{name}", name.lower(), info.size)
                if name in names:
                    yield Malformed(member.uri, str(start), "got a member of this name again", info.size)
                else:
                    names.add(name)
                    yield member, Peeked(window)
            elif not info.type.startswith((tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)):
                long_name = None
            if window.damage is not None:
                yield rest_of(where, offset, window.damage)
                return
            while window.read(READ_BYTES):
                pass
            _exactly(stream, padding)
        except Damaged as error:
            yield rest_of(where, start, error)
            return


def _exactly(stream: Any, size: int) -> bytes:
    """So many bytes, fewer only at the end."""
    pieces, left = [], size
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _tar_header(block: bytes) -> tarfile.TarInfo | None:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except (tarfile.TarError, ValueError):
        return None
    return info if 0 <= info.size < 2**62 else None


def _pax_path(data: bytes) -> str | None:
    """The path that a pax header gives, or None."""
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(data):
            return None
        key, _, value = data[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "replace")
        data = data[int(length) :]
    return None


def _name(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/").replace("\0", "")).lstrip("/")


def zip_members(stream: Any, where: Where, options: Options) -> Iterator[Member]:
    """The files of a zip archive, each with a stream that is good until the next one is asked for."""
    try:
        with zipfile.ZipFile(stream) as archive:
            _check_number(stream, len(archive.infolist()))
            found = [
                info for info in archive.infolist() if info.compress_size or not info.filename.endswith("/")
            ]
    except ZIP_ERRORS as error:
        problem = f"got a zip archive without its directory ({error}), expected a whole one: its members are read as far as they go"
        size = 0 if stream.seek(0) == 0 and stream.read(4) == LOCAL_MAGIC else where.size_bytes
        yield Malformed(where.uri, "0", problem, size, is_stretch=True)
        yield from _salvaged(stream, where, options)
        return
    names: set[str] = set()
    overlapping = _overlapping(found)
    for info in found:
        name = _name(info.filename)
        uri = f"{where.uri}!/{name}"
        if name in names:
            yield Malformed(
                uri, str(info.header_offset), "got a member of this name again", info.compress_size
            )
            continue
        names.add(name)
        if info.header_offset in overlapping:
            problem = "got a member that shares bytes with another one, as bombs do, expected its own"
            yield Malformed(uri, str(info.header_offset), problem, info.compress_size, is_stretch=True)
            continue
        opened = _zip_member(stream, info.header_offset, info.compress_size, info.CRC, options)
        if isinstance(opened, str):
            yield Malformed(uri, str(info.header_offset), opened, info.compress_size, is_stretch=True)
        else:
            yield Where(uri, name.lower(), info.compress_size), Peeked(opened)


def _check_number(stream: Any, members: int) -> None:
    """Raises ``BadZipFile`` where a directory ends before it has as many members as the archive's end record says."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - (1 << 16) - 22))
    end = stream.read()
    at = end.rfind(b"PK\x05\x06")
    said = int.from_bytes(end[at + 10 : at + 12], "little")
    if said not in (members, 0xFFFF):  # which says that there are more than the record has room for
        raise zipfile.BadZipFile(f"it lists {members} of {said} members")


def _overlapping(members: list[zipfile.ZipInfo]) -> set[int]:
    """Where the members start that reach into the next one."""
    starts = sorted((info.header_offset, info.compress_size) for info in members)
    return {
        start
        for (start, size), (after, _) in itertools.pairwise(starts)
        if start + LOCAL_HEADER.size + size > after
    }


def _zip_member(stream: Any, offset: int, size: int, crc: int | None, options: Options) -> Any:
    """The decompressed stream of the member at an offset, or what is wrong with it."""
    try:
        stream.seek(offset)
        header = stream.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            return "got no header of a zip member, expected one"
        _, _, flags, method, *_, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        stream.seek(offset + LOCAL_HEADER.size + name_bytes + extra_bytes)
    except (OSError, ValueError, OverflowError) as error:
        return f"got {error}, expected a zip member"
    if flags & ENCRYPTED:
        return "got an encrypted member, expected a readable one: unpack the archive"
    window = Window(stream, size)
    if method == 0:
        return _Checked(window, crc)
    if method not in METHODS:
        return f"got compression method {method}, expected stored, deflate, bzip2 or zstd: unpack the archive"
    inside = Decompressed(
        window, METHODS[method], max_bytes=options.max_member_bytes, max_ratio=options.max_ratio
    )
    return _Checked(inside, crc)


class _Checked:
    """A member's stream that compares its bytes with the archive's checksum when they end."""

    def __init__(self, raw: Any, crc: int | None) -> None:
        self._raw, self._expected, self._crc = raw, crc, 0

    def read(self, size: int = -1) -> bytes:
        block = bytes(self._raw.read(size))
        self._crc = zlib.crc32(block, self._crc)
        if not block and size and self._expected not in (None, self._crc):
            self._expected = None
            raise Damaged(
                "got a member with another checksum than the archive says, some of its bytes are wrong"
            )
        return block

    def seekable(self) -> bool:
        return False


def _salvaged(stream: Any, where: Where, options: Options) -> Iterator[Member]:
    """Members by their own headers, in the order of the file."""
    offset = 0
    while True:
        stream.seek(offset)
        header = stream.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            return
        _, _, flags, method, _, _, crc, size, _, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        name = _name(stream.read(name_bytes).decode("utf-8", "replace"))
        first = offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        has_size = not flags & HAS_DESCRIPTOR and size < 2**32 - 1
        uri = f"{where.uri}!/{name}"
        opened = _zip_member(stream, offset, size if has_size else 2**62, crc if has_size else None, options)
        if isinstance(opened, str) or (not has_size and method not in METHODS):
            words = opened if isinstance(opened, str) else "got a stored member without its size"
            yield Malformed(uri, str(offset), words)
            if not has_size:
                return
        elif not name.endswith("/"):
            yield Where(uri, name.lower()), Peeked(opened)
        if not has_size:
            return  # where it ends is known only to its decoder, which has read on
        offset = first + size


def in_memory(stream: Any, max_bytes: int) -> io.BytesIO | None:
    """All of a stream that cannot seek, or None when it is larger than ``max_bytes``.

    Raises:
        Damaged: It breaks off.
    """
    held = io.BytesIO()
    while block := stream.read(READ_BYTES):
        if held.write(block) and held.tell() > max_bytes:
            return None
    held.seek(0)
    return held
