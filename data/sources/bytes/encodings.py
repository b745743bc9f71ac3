"""Text encodings: byte order marks, then strict UTF-8, then a detector, then an error.

References:
    The Unicode Standard, section 23.8 (byte order mark). WHATWG, Encoding Standard, section 4.2 (the encodings of the
    web; those of Windows are supersets of ISO 8859's of the same letters, and take their place).
"""

from __future__ import annotations

import codecs
from typing import Any, NamedTuple

from millrace.data.sources.records import Options

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DETECTED_BYTES = 1 << 16
"""How much of a text the detector sees."""
DETECTED = (
    *(f"cp{number}" for number in range(1250, 1259)),
    *("koi8_r", "koi8_u", "iso8859_2", "cp866", "cp874", "shift_jis", "cp932", "euc_jp", "iso2022_jp"),
    *("gb18030", "big5", "cp949", "utf_16", "utf_16_le", "utf_16_be"),
)
"""What the detector may find: the web's encodings but those of old Macs, which win over Windows' for short texts."""

MOST_COMMON = "cp1252"
MUCH_CHAOS = 0.12
"""It is taken where the detector finds it as like a language as the best match, and little less regular: French with
typographic apostrophes has 0.103 more than as Baltic letters. Hungarian, Turkish, Baltic and Japanese texts are mistaken
for others either way and need their encoding named."""


class Decoded(NamedTuple):
    """A text, and its encoding when that is not UTF-8."""

    text: str
    encoding: str | None


class UnknownEncodingError(ValueError):
    """No encoding fits some bytes; says what was got and expected."""

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(problem)
        self.offset = offset


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark tells, or None."""
    return next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)


def decode(data: bytes, encoding: str) -> Decoded:
    """A text with ``\\n`` line ends.

    Args:
        data: All of its bytes.
        encoding: A name that Python knows, or ``auto``.

    Raises:
        UnknownEncodingError: They are in no encoding that fits, or not in the one that is named.
    """
    marked = marked_encoding(data[:4])
    name = marked or ("utf-8" if encoding == "auto" else encoding)
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        found = None if marked or encoding != "auto" or is_damaged_utf8(data) else detected(data)
        if found is None:
            expected = "UTF-8, or another encoding to be named by encoding" if encoding == "auto" else name
            words = f"got invalid {name.upper()} ({error.reason}), expected {expected}"
            raise UnknownEncodingError(words, error.start) from None
        name = found
        text = data.decode(name)
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return Decoded(text, None if name in ("utf-8", "utf-8-sig") else name)


def is_damaged_utf8(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 must have been: most that are not ASCII are whole characters of it.

    Bytes of other encodings hardly ever are, and a detector would read all of a text wrong for one wrong byte.
    """
    text = data.decode("utf-8", "surrogateescape")
    others = [character for character in text if not character.isascii()]
    bad = sum("\udc80" <= character <= "\udcff" for character in others)
    return bad < len(others) - bad


def detected(data: bytes) -> str | None:
    """The encoding that a detector finds in bytes that are no UTF-8, and that decodes all of them; or None."""
    import charset_normalizer

    matches = list(charset_normalizer.from_bytes(data[:DETECTED_BYTES], cp_isolation=list(DETECTED)))
    if not matches:
        return None
    found = next((match for match in matches if match.encoding == MOST_COMMON), matches[0])
    if found.chaos > matches[0].chaos + MUCH_CHAOS or found.coherence < matches[0].coherence:
        found = matches[0]
    try:
        text = data.decode(found.encoding)
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else str(found.encoding)


def as_utf8(stream: Any, options: Options) -> Any:
    """A stream of UTF-8: the stream itself, or one that recodes it where a mark or the options say so."""
    name = marked_encoding(stream.peek(4))
    if name is None and options.encoding != "auto":
        name = codecs.lookup(options.encoding).name
    return stream if name in (None, "utf-8", "utf-8-sig", "ascii") else _Recoded(stream, str(name))


class _Recoded:
    """A stream in another encoding as UTF-8; bytes that do not fit stay bytes that are not UTF-8."""

    def __init__(self, raw: Any, encoding: str) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")

    def read(self, size: int) -> bytes:
        while block := self._raw.read(size):
            if text := self._decoder.decode(block):
                return text.encode("utf-8", "surrogateescape")
        return self._decoder.decode(b"", True).encode("utf-8", "surrogateescape")
