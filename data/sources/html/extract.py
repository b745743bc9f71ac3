"""A page of HTML as text: its main content, or all that is visible; its title, language and address.

resiliparse finds the main content by the names and places of elements. It was chosen by recall, precision and speed
(docs/data.md has the table, ``benchmarks/html_extraction.py`` measures it). Comments, alternative texts, dates and
authors are left out, which takes more boilerplate than text. Of some pages, mostly ones whose classes have unusual
names, it finds nothing or one line: they give their visible text without menus and footers.

Encodings go as in browsers, with one difference: bytes that are valid UTF-8 are UTF-8 whatever a page says of itself,
because most pages that contradict their bytes were moved from another server.

References:
    Bevendorff et al. 2018, "Elastic ChatNoir", ECIR (resiliparse). Li et al. 2024, "DataComp-LM", arXiv 2406.11794,
    section 4.2: models trained on resiliparse's text are as good as on trafilatura's. WHATWG, Encoding Standard,
    section 4.2 (labels), and HTML Living Standard, section 13.2.3.2 (where an encoding stands).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from millrace.data.sources.bytes.encodings import (
    Decoded,
    UnknownEncodingError,
    detected,
    is_damaged_utf8,
    marked_encoding,
)

SPARSE_CHARACTERS = 250
"""A main text with less is taken for a failure; trafilatura asks its fallbacks below the same length."""
NO_CONTENT = ("nav", "aside", "footer")
PRESCAN_BYTES = 4096
TITLE_CHARACTERS, TAG_CHARACTERS, URL_CHARACTERS = 1000, 35, 4000
META = re.compile(
    rb"""<meta[^>]{0,999}?charset\s*=\s*["']?\s*([\w:.+-]{1,40})|<\?xml[^>]{0,99}?encoding\s*=\s*["']([\w.-]{1,40})""",
    re.IGNORECASE,
)
CODECS = {
    **dict.fromkeys(("ascii", "iso8859-1", "cp1252"), "cp1252"),
    **dict.fromkeys(("tis-620", "iso8859-11", "cp874"), "cp874"),
    **dict.fromkeys(("iso8859-9", "cp1254"), "cp1254"),
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **dict.fromkeys(("shift_jis", "cp932"), "cp932"),
    **dict.fromkeys(("euc_kr", "cp949"), "cp949"),
    **{f"iso8859-{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{f"cp{number}": f"cp{number}" for number in (866, 1250, 1251, 1253, 1255, 1256, 1257, 1258)},
    **{name: name for name in ("big5", "big5hkscs", "euc_jp", "iso2022_jp", "koi8-r", "koi8-u")},
    **{name: name for name in ("mac-roman", "mac-cyrillic")},
    # A page whose declaration can be read as ASCII is not in 16 bits.
    **dict.fromkeys(("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"), "utf-8"),
}
"""What a page may say it is in, by Python's names -> what is meant: supersets, as browsers take them."""
OTHER_LABELS = {"x-sjis": "cp932", "windows-31j": "cp932", "x-gbk": "gb18030", "iso-8859-8-i": "iso8859-8"}
ESCAPING = ("iso2022_jp",)  # whose bytes are all ASCII's
MANY_BYTES = 24
"""So many bytes beyond ASCII that are valid UTF-8 are no coincidence in any other encoding."""

TEXT = bytes(byte for byte in range(256) if byte > 31 or byte in b"\0\t\n\f\r\x1b")
BINARY_BYTES, MOST_BINARY = 1 << 16, 0.01
"""Control characters that no text has are an eighth of compressed data; zeros may be a damaged stretch."""


class Page(NamedTuple):
    """The content of a page.

    Attributes:
        text: Its text, empty when it has none.
        title: Of its head.
        language: The tag that it gives itself.
        url: The address that it calls its own (``rel=canonical``).
        encoding: Its encoding when that is not UTF-8.
    """

    text: str
    title: str | None = None
    language: str | None = None
    url: str | None = None
    encoding: str | None = None


def codec_of(label: str | None) -> str | None:
    """Python's codec for what a page or a server calls its encoding, or None where the web knows no such."""
    try:
        return None if not label else CODECS.get(codecs.lookup(label.strip(" \"'").lower()).name)
    except (LookupError, ValueError):
        return OTHER_LABELS.get(str(label).strip(" \"'").lower())


def declared(content: bytes) -> str | None:
    """The codec that a page's own declaration means, or None."""
    match = META.search(content, 0, PRESCAN_BYTES)
    return codec_of((match[1] or match[2]).decode("ascii", "replace")) if match else None


def decode_html(content: bytes, charset: str | None = None) -> Decoded:
    """A page as text. Bytes that its encoding does not have become U+FFFD, as in browsers.

    Args:
        content: Its bytes.
        charset: What the server called its encoding.

    Raises:
        UnknownEncodingError: It declares nothing, and nothing fits; or it is no text at all.
    """
    if marked := marked_encoding(content[:4]):
        return Decoded(content.decode(marked, "replace"), None if marked == "utf-8-sig" else marked)
    if len(content[:BINARY_BYTES].translate(None, TEXT)) > MOST_BINARY * len(content[:BINARY_BYTES]):
        raise UnknownEncodingError("got binary data, expected HTML", 0)
    names = [name for name in (codec_of(charset), declared(content)) if name is not None]
    utf8_error = None
    if not any(name in ESCAPING for name in names):
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            utf8_error = error
        else:
            if text.isascii() or not names or "utf-8" in names:
                return Decoded(text, None)
            if names[0].startswith(("cp125", "iso8859", "koi8")) or _beyond_ascii(content) >= MANY_BYTES:
                return Decoded(text, None)
    for name in names:
        try:
            return Decoded(content.decode(name), None if name == "utf-8" else name)
        except UnicodeDecodeError:
            continue
    if is_damaged_utf8(content):
        return Decoded(content.decode("utf-8", "replace"), None)
    found = detected(content)
    if found is None and not names:
        reason = utf8_error.reason if utf8_error else "no characters"
        words = f"got invalid UTF-8 ({reason}), expected UTF-8, or another encoding to be declared"
        raise UnknownEncodingError(words, utf8_error.start if utf8_error else 0)
    name = found or names[0]
    return Decoded(content.decode(name, "replace"), name)


def _beyond_ascii(content: bytes) -> int:
    return len(content.translate(None, bytes(range(128))))


def extract(content: bytes, charset: str | None = None, *, whole: bool = False) -> Page:
    """A page's text and what it says of itself.

    Args:
        content: Its bytes; ``cost.cost`` estimates the time of parsing them.
        charset: What the server called its encoding.
        whole: All visible text instead of the main content.

    Raises:
        UnknownEncodingError: Nothing says or shows its encoding.
    """
    from resiliparse.parse.html import HTMLTree

    html, encoding = decode_html(content, charset)
    tree: Any = HTMLTree.parse(html)
    text = _text(tree, not whole, () if whole else NO_CONTENT)
    if len(text) < SPARSE_CHARACTERS and not whole:
        visible = _text(tree, False, NO_CONTENT)
        text = visible if len(visible) > len(text) else text
    document: Any = tree.document
    root, link = document.query_selector("html"), document.query_selector("link[rel=canonical]")
    return Page(
        _lines(_clean(text)),
        _shortened(tree.title, TITLE_CHARACTERS),
        _shortened(root and root.getattr("lang"), TAG_CHARACTERS),
        _shortened(link and link.getattr("href"), URL_CHARACTERS),
        encoding,
    )


def _text(tree: Any, main_content: bool, without: Sequence[str]) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return str(
        extract_plain_text(
            tree,
            main_content=main_content,
            comments=False,
            post_meta=False,
            alt_texts=False,
            skip_elements=list(without),
        )
    )


def _clean(text: str) -> str:
    """Without null characters and lone surrogates, which entities can smuggle in."""
    text = text.replace("\0", "") if "\0" in text else text
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _lines(text: str) -> str:
    """Without white space at the ends of lines, and with one empty line where there are more."""
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def _shortened(value: Any, most: int) -> str | None:
    """A fact in one line, or None for none and for what is too long to be one."""
    words = " ".join(_clean(str(value or "")).split())
    return words if 0 < len(words) <= most else None
