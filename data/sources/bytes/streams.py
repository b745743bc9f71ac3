"""Byte streams of files: opened by fsspec, decompressed while they are read; damage raises an error.

A damaged stream gives every byte before the damage and then raises ``Damaged``. So the standard library's decompressors
are driven here by hand: file objects of ``gzip``, ``bz2`` and ``lzma`` lose what one read had decompressed before it
failed, zstandard's reader takes a truncated frame for a finished one, and Arrow's streams lose the read and know no xz.
Input is fed in small pieces, smaller ones where the last inflated much, which bounds what one call gives: some
megabytes, and 256 MB at worst where 8 kB of zstd's repeats follow text that inflates little.

The first bytes of a stream, not its name, show whether it is compressed; a name with a compression that the bytes do
not have is damage.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from millrace.data.sources.records import Malformed, Where

READ_BYTES = 1 << 20
LEAST_FEED_BYTES, FEED_BYTES = 1 << 6, 1 << 13
FED_OUTPUT_BYTES = 1 << 20  # most bytes that a feed should give, estimated from the one before
LZMA_MEMORY_BYTES = 1 << 28  # xz -9 needs 65 MB to decompress
RATIO_COUNTS_FROM_BYTES = 1 << 26
MAGIC: Mapping[str, bytes] = {
    "gzip": b"\x1f\x8b\x08",
    "zstd": b"\x28\xb5\x2f\xfd",
    "xz": b"\xfd7zXZ\x00",
}
BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # the first block's, or the end's of an empty stream


class Damaged(OSError):
    """A stream breaks off: everything before was given, nothing after can be had.

    Attributes:
        read_bytes: How much of the stored file was read before.
    """

    def __init__(self, problem: str, read_bytes: int = 0) -> None:
        super().__init__(problem)
        self.read_bytes = read_bytes


def rest_of(where: Where, locator: int | str, error: Damaged) -> Malformed:
    """Marks the rest of a truncated file."""
    size = max(0, where.size_bytes - error.read_bytes)
    return Malformed(where.uri, str(locator), f"{error}, expected a whole file", size, is_stretch=True)


def open_file(uri: str) -> Any:
    """Opens a local or remote file for reading bytes.

    Raises:
        OSError: It cannot be opened.
    """
    if "://" in uri:
        import fsspec

        return fsspec.open(uri, "rb").open()  # pyright: ignore[reportAttributeAccessIssue]  # one file, not OpenFiles
    return open(uri, "rb")


class Peeked:
    """A stream whose first bytes can be looked at before they are read; it seeks when the one below does."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._held = b""

    closed = False

    def readable(self) -> bool:
        """It is."""
        return True

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end or before damage; they stay unread."""
        while len(self._held) < size:
            try:
                block = self.raw.read(size - len(self._held))
            except OSError:
                break  # comes again when it is read
            if not block:
                break
            self._held += block
        return self._held[:size]

    def read(self, size: int = -1) -> bytes:
        """``size`` bytes, fewer only at the end or before damage, all without a size.

        Raises:
            Damaged: Nothing more can be read.
        """
        wanted = size if size >= 0 else 2**62
        pieces = [self._held[:wanted]] if self._held else []
        self._held = self._held[wanted:]
        left = wanted - sum(map(len, pieces))
        while left:
            try:
                block = bytes(self.raw.read(left if size >= 0 else -1))
            except OSError as error:
                if pieces:
                    break  # comes again
                raise (
                    error if isinstance(error, Damaged) else Damaged(f"got {error.strerror or error}")
                ) from error
            if not block:
                break
            pieces.append(block)
            left -= len(block)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def stored_bytes_read(self) -> int:
        """How much of what is stored was read, 0 when that cannot be known."""
        if isinstance(self.raw, Decompressed):
            return self.raw.fed_bytes
        return self.tell() if self.seekable() else 0

    def seekable(self) -> bool:
        """Whether it can ``seek``."""
        return bool(self.raw.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves, as files do."""
        self._held = b""
        return int(self.raw.seek(offset, whence))

    def tell(self) -> int:
        """Where it stands."""
        return int(self.raw.tell()) - len(self._held)


def decompressed(raw: Any, compression: str | None) -> Any:
    """A readable stream of what a stream holds, itself when it is not compressed."""
    return raw if compression is None else Decompressed(raw, compression)


def compression_of(head: bytes) -> str | None:
    """The compression that a file's first ten bytes tell, or None."""
    for name, magic in MAGIC.items():
        if head.startswith(magic):
            return name
    if head[:3] == b"BZh" and head[3:4] in b"123456789" and head[4:10] in BZIP2_BLOCKS:
        return "bzip2"
    # A skippable frame may come first (pzstd writes one).
    return "zstd" if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5 else None


def _zstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()


DECODERS: Mapping[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(-15),
    "zstd": _zstd,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES),
}
"""Compression -> a new decoder of one frame."""


def _errors() -> tuple[type[Exception], ...]:
    import zstandard

    return (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError, MemoryError)


class Decompressed:
    """A readable stream of what a compressed one holds; frames that follow each other are one stream."""

    def __init__(self, raw: Any, compression: str, *, max_bytes: int = 2**62, max_ratio: float = 1e9) -> None:
        """Decompresses ``raw`` from where it stands.

        Args:
            raw: The compressed stream.
            compression: A key of ``DECODERS``.
            max_bytes: More decompressed bytes than that are damage.
            max_ratio: So is a larger ratio of decompressed to compressed bytes, after the first 64 MB.
        """
        self.compression = compression
        self.fed_bytes = self.given_bytes = 0
        self._raw, self._max_bytes, self._max_ratio = raw, max_bytes, max_ratio
        self._left = b""
        self._pieces = self._decode()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is not."""
        return False

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes (all without a size), ``b""`` at the end.

        Raises:
            Damaged: The stream is truncated, corrupt or inflates beyond its limits; all good bytes were given.
        """
        pieces, total = [self._left], len(self._left)
        self._left = b""
        while size < 0 or total < size:
            try:
                piece = next(self._pieces, None)
            except Damaged as error:
                self._pieces = _raising(error)  # for whoever reads on
                if not total:
                    raise
                break
            if piece is None:
                break
            pieces.append(piece)
            total += len(piece)
        block = b"".join(pieces)
        if 0 <= size < total:
            block, self._left = block[:size], block[size:]
        return block

    def _decode(self) -> Iterator[bytes]:
        errors = _errors()
        decoder: Any = None
        left, room = b"", LEAST_FEED_BYTES
        while True:
            try:
                fed = left or self._raw.read(room)
            except OSError as error:
                raise Damaged(f"got {error}", self.fed_bytes) from error
            fed, left = fed[:room], fed[room:]
            if not fed:
                if decoder is not None or not self.fed_bytes:
                    raise Damaged(
                        f"got a truncated or corrupt {self.compression} stream: it ends too early, after "
                        f"{self.fed_bytes} bytes",
                        self.fed_bytes,
                    )
                return
            size = len(fed)
            if decoder is None:
                # Padding after a frame, as tapes, dd and xz leave it.
                fed = fed.lstrip(b"\0") if self.fed_bytes else fed
                if not fed:
                    self.fed_bytes += size
                    continue
                self.fed_bytes += size - len(fed)
                size = len(fed)
                decoder = DECODERS[self.compression]()
            backup = decoder.copy() if hasattr(decoder, "copy") else None
            given = self.given_bytes
            self.fed_bytes += size
            try:
                for piece in _pieces(decoder, fed):
                    yield self._counted(piece)
            except Damaged:
                raise
            except errors as error:
                if backup is not None and given == self.given_bytes:
                    for piece in _bytewise(backup, fed, errors):
                        yield self._counted(piece)
                raise Damaged(
                    f"got a truncated or corrupt {self.compression} stream ({error}) before byte {self.fed_bytes}",
                    self.fed_bytes,
                ) from error
            if decoder.eof:
                self.fed_bytes -= len(decoder.unused_data)
                left = decoder.unused_data + left
                decoder = None
            grown = (self.given_bytes - given) // size + 1
            room = max(LEAST_FEED_BYTES, min(FEED_BYTES, 2 * room, FED_OUTPUT_BYTES // grown))

    def _counted(self, piece: bytes) -> bytes:
        self.given_bytes += len(piece)
        if self.given_bytes > self._max_bytes:
            raise Damaged(
                f"got more than {self._max_bytes} decompressed bytes, expected at most max_member_bytes",
                self.fed_bytes,
            )
        if self.given_bytes > max(RATIO_COUNTS_FROM_BYTES, self._max_ratio * self.fed_bytes):
            raise Damaged(
                f"got {self.given_bytes} bytes out of {self.fed_bytes}, expected a ratio of at most max_ratio = "
                f"{self._max_ratio:g}",
                self.fed_bytes,
            )
        return piece


def _pieces(decoder: Any, data: bytes) -> Iterator[bytes]:
    """The output of one feed, bounded piece by piece where the decoder can do that."""
    if not hasattr(decoder, "needs_input"):
        yield decoder.decompress(data)
        return
    yield decoder.decompress(data, READ_BYTES)
    while not decoder.eof and not decoder.needs_input:
        yield decoder.decompress(b"", READ_BYTES)


def _bytewise(decoder: Any, data: bytes, errors: tuple[type[Exception], ...]) -> Iterator[bytes]:
    """The output of one feed up to the damage."""
    for value in data:
        try:
            yield decoder.decompress(bytes((value,)))
        except errors:
            return


def _raising(error: Damaged) -> Iterator[bytes]:
    raise error
    yield b""
