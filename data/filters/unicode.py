"""Repairs Unicode: mojibake, one normal form, line ends, control and invisible characters.

One compiled pass says which texts need which repair; the others pass untouched: ASCII at 1.4 GB/s a core, texts with
letters beyond it at 0.4 to 0.6. A kernel mends line ends, controls and invisible characters (290 MB/s where every line
needs it), ``unicodedata`` normal forms, ftfy mojibake, the latter two only in texts that the pass points out: for
mojibake those with a sequence that reads as UTF-8 once it is written in the wrong encoding. Capitals before closing
quotes (``MAÇÃ»``) may look like that too: they stay unless all of the text is mojibake. Of 2,375 news texts in 127
languages that were planted as mojibake 2,374 are restored (ftfy alone: 2,305), in capitals 1,314 of 1,320 (1,161). Of
the 12,928 sound ones 18 change, all for real C1 controls in them, and in capitals 1 (25); of 86,502 quoted words that
end in an accented capital none (6,476).

Removed: byte order marks, zero-width spaces and joiners, word joiners, soft hyphens, direction marks, C0 and C1
controls besides tab and line feed, terminal escapes. Kept, because they carry meaning: joiners between
characters outside ASCII (Persian, Indic scripts, emoji) and zero-width spaces in scripts without spaces.

References:
    Unicode Standard Annex 15: normal forms and their quick check. Unicode Standard, section 23.2 and 23.3: layout
    controls. ECMA-48, section 5.4: control sequences. Speer 2019, ftfy, zenodo.2591652: what mojibake looks like.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import Edited, TextBatch, replaced
from millrace.data.text.kernels import kernel

NormalForm = Literal["NFC", "NFKC"]
COUNTS = ("mojibake", "normal_form", "line_ends", "controls", "invisible")
_MOJIBAKE, _FORM, _CLEAN = 1, 2, 4
LONGEST_ACCENTS = (
    256  # on one letter; to sort more takes time in the square of them, so such a text keeps its form
)
_HELD = "\ufdd0"  # stands for a doubtful pair while the text around it is mended; no character
_QUOTES = "«»“”„‘’‚‹›"  # noqa: RUF001
_PAIR = "[À-ÖØ-ÞĀ-ž][«»“”„‘’‚‹›…–—™®°·\u00a0]"  # noqa: RUF001
_SIGNS = "®°·\u00a0"
_MISREAD = "[Â-ß][ŠŒŽŸ]"  # a pair that ends in a capital
_ROUNDS = 8  # of repairs on one text, as each may uncover another; all that is real settles in two


def edit(
    batch: TextBatch,
    *,
    mojibake: bool = True,
    normal_form: NormalForm | None = "NFC",
    line_ends: bool = True,
    controls: bool = True,
    invisible: bool = True,
) -> Edited:
    """Repairs the texts that need it.

    Args:
        batch: The texts.
        mojibake: Undo text that was decoded in the wrong encoding (``Ã©`` for ``é``).
        normal_form: The form that texts are brought to; NFKC also takes ligatures, widths and superscripts away.
        line_ends: CR LF, CR, NEL and the line and paragraph separators become LF.
        controls: Take controls out; vertical tab, form feed and the C0 separators become LF.
        invisible: Take invisible characters out.

    Returns:
        The batch, and per name of ``COUNTS`` how many places of each text were repaired (for mojibake and normal
        forms: 1 where the text was). Editing the result again changes nothing.
    """
    counts = {name: np.zeros(len(batch), np.int64) for name in COUNTS}
    settings = np.array([line_ends, controls, invisible])
    table = _form_table(normal_form) if normal_form else np.zeros(1, np.int16)
    rows = np.arange(len(batch))
    part = batch
    for _ in range(_ROUNDS):
        flags = _flags(part.data, part.offsets, table, LONGEST_ACCENTS)
        if not mojibake:
            flags &= ~np.uint8(_MOJIBAKE)
        keep = np.flatnonzero(flags)
        if not keep.size:
            break
        part, rows, flags = _taken(part, keep), rows[keep], flags[keep]
        before = part
        part = _repaired(part, rows, flags, counts, settings, normal_form)
        changed = np.flatnonzero(_differs(before.data, before.offsets, part.data, part.offsets))
        if not changed.size:
            break
        part, rows = _taken(part, changed), rows[changed]
        batch = replaced(batch, {int(row): _bytes(part, at) for at, row in enumerate(rows)})
    return Edited(batch, counts)


def _repaired(
    part: TextBatch,
    rows: npt.NDArray[np.int64],
    flags: npt.NDArray[np.uint8],
    counts: dict[str, npt.NDArray[np.int64]],
    settings: npt.NDArray[np.bool_],
    normal_form: NormalForm | None,
) -> TextBatch:
    """One round of repairs on texts that were pointed out; adds to the counts.

    Mojibake comes first, because half of it is made of C1 controls; normal forms come last, because accents may
    meet their letters only once what stood between them is gone.
    """
    fixed = {}
    for at in np.flatnonzero(flags & _MOJIBAKE).tolist():
        text = _bytes(part, at).decode()
        sound = _without_mojibake(text)
        if sound != text:
            fixed[at] = sound.encode("utf-8", "replace")
            counts["mojibake"][rows[at]] += 1
    part = replaced(part, fixed)
    if settings.any() and (fixed or (flags & _CLEAN).any()):
        found = np.zeros((len(part), 3), np.int64)
        part = TextBatch(*_clean(part.data, part.offsets, settings, found))
        for index, name in enumerate(("line_ends", "controls", "invisible")):
            counts[name][rows] += found[:, index]
    if normal_form:
        normal = {}
        for at in np.flatnonzero(flags & _FORM).tolist():
            text = _bytes(part, at).decode()
            if not unicodedata.is_normalized(normal_form, text):
                normal[at] = unicodedata.normalize(normal_form, text).encode()
                counts["normal_form"][rows[at]] += 1
        part = replaced(part, normal)
    return part


def _without_mojibake(text: str) -> str:
    """Mends mojibake, but keeps what may as well be sound: a text around its doubtful pairs, or whole where nothing in it
    speaks for sound text."""
    if _HELD in text or _mended(text) == text:
        return text
    places = list(_doubtful(text))
    starts = [0, *(place + 2 for place in places)]
    held = _HELD.join(text[start:end] for start, end in zip(starts, [*places, len(text)], strict=True))
    mended = _mended(held)
    whole = _decoded(text)
    if mended != held and whole is not None:
        return _without_mojibake(whole)  # step by step, because mended text may have doubtful pairs
    if "\n" in text:
        return "\n".join(map(_without_mojibake, text.split("\n")))
    pairs = [*(text[place : place + 2] for place in places), ""]
    return "".join(part + pair for part, pair in zip(mended.split(_HELD), pairs, strict=True))


def _doubtful(text: str) -> Iterator[int]:
    """Where a capital with an accent and the mark behind it may be sound, although one misread character looks the same.

    ``MAÇÃ»`` ends in two sound characters, and ``Ã»`` is also a misread ``û``. In a word of capitals, a mark that no letter
    follows may stand behind the word; so may one that closes a quotation of one letter. ``Â`` is left out before signs
    (``ACMEÂ®``), where it is nearly always mojibake.
    """
    for pair in re.finditer(_PAIR, text):
        start, end = pair.span()
        letter, mark = text[start], text[start + 1]
        before, behind = text[start - 1 : start], text[end : end + 1]
        if before in _QUOTES and before and mark in _QUOTES:
            yield start
        elif (
            before.isupper()
            and (letter != "Â" or mark not in _SIGNS)
            and not re.fullmatch(_MISREAD, text[max(start - 2, 0) : start])
        ):
            if mark == "\u00a0":  # of a small letter, which one capital may precede and two do not
                if text[max(start - 2, 0) : start].isupper() and start >= 2:
                    yield start
            elif mark == "—" or not behind.isalnum():
                yield start


def _decoded(line: str) -> str | None:
    """The text whose UTF-8, read as Windows-1252, a line is as a whole; None where anything in it is not."""
    import ftfy.bad_codecs  # noqa: F401 - registers the encoding

    try:
        return line.encode("sloppy-windows-1252").decode()
    except UnicodeError:
        return None


def _mended(text: str) -> str:
    """ftfy's repair of encodings, line by line, with all that it does besides switched off."""
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    return ftfy.fix_text(text, config)


def _bytes(batch: TextBatch, row: int) -> bytes:
    return batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes()


def _taken(batch: TextBatch, rows: npt.NDArray[np.int64]) -> TextBatch:
    """The batch of some of a batch's rows."""
    if rows.size == len(batch):
        return batch
    parts = [batch.data[batch.offsets[row] : batch.offsets[row + 1]] for row in rows]
    return TextBatch(np.concatenate(parts), np.cumsum([0, *(part.size for part in parts)], dtype=np.int64))


@lru_cache(maxsize=2)
def _form_table(form: NormalForm) -> npt.NDArray[np.int16]:
    """The table for the quick check of a normal form, int16 [0x30000]: its combining class, and
    256 more where it is never or not always in that form. Characters of further planes are."""
    table = np.zeros(0x30000, np.int16)
    for point in range(0x80, table.size):
        if 0xD800 <= point < 0xE000:
            continue
        character = chr(point)
        table[point] += unicodedata.combining(character)
        if unicodedata.normalize(form, character) != character:
            table[point] |= 256
        canonical = unicodedata.decomposition(character).split()
        if len(canonical) == 2 and not canonical[0].startswith("<"):
            table[int(canonical[1], 16)] |= 256  # the character it composes with
    table[0x1161:0x1176] |= 256  # Hangul vowels and final consonants compose with what comes before them
    table[0x11A8:0x11C3] |= 256
    return table


@kernel
def _flags(data: Any, offsets: Any, form_table: Any, longest_run: int) -> Any:
    """The repairs that each text may need, as a sum of the constants above."""
    out = np.zeros(offsets.size - 1, np.uint8)
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        high = False
        flags = np.uint8(0)
        for at in range(start, end):
            byte = data[at]
            high |= byte >= 0x80
            # Any control but tab and line feed.
            if (byte < 32 and byte != 10 and byte != 9) or byte == 127:
                flags |= np.uint8(4)
        out[row] = flags | (np.uint8(8) if high else np.uint8(0))
    for row in range(offsets.size - 1):
        if not out[row] & 8:
            continue
        flags = out[row] & np.uint8(7)
        end = offsets[row + 1]
        at = offsets[row]
        last = np.int64(0)  # the character before
        last_class = np.int16(0)
        run = 0
        is_endless = False
        expected = 0  # continuation bytes that the characters before would need, were they bytes
        while at < end:
            point = np.int64(data[at])
            at += 1
            if point < 0x80:
                if (
                    point == 32 and expected == 1 and last == 0xC3
                ):  # Ã with the no-break space of à made a space
                    flags |= np.uint8(1)
                last, last_class, expected, run = point, np.int16(0), 0, 0
                continue
            if at + (1 if point < 0xE0 else 2 if point < 0xF0 else 3) > end:
                break  # cut within a character, which is no UTF-8
            if point < 0xE0:
                point = (point & 0x1F) << 6 | (data[at] & 0x3F)
                at += 1
            elif point < 0xF0:
                point = (point & 0x0F) << 12 | (np.int64(data[at]) & 0x3F) << 6 | (data[at + 1] & 0x3F)
                at += 2
            else:
                point = (
                    (point & 0x07) << 18
                    | (np.int64(data[at]) & 0x3F) << 12
                    | (np.int64(data[at + 1]) & 0x3F) << 6
                    | (data[at + 2] & 0x3F)
                )
                at += 3
            if point < 0xA0:
                flags |= np.uint8(4)
                if (
                    point != 0x85
                ):  # most are Windows-1252 read as Latin-1; ftfy knows which character was meant
                    flags |= np.uint8(1)
            elif (
                point == 0xAD
                or point == 0xFEFF
                or 0x200B <= point <= 0x200F
                or 0x2028 <= point <= 0x202E
                or 0x2060 <= point <= 0x2064
                or 0x2066 <= point <= 0x2069
            ):
                flags |= np.uint8(4)
            form = form_table[point] if point < form_table.size else np.int16(0)
            if form >= 256 or (form > 0 and form < last_class):  # accents are out of order
                flags |= np.uint8(2)
            last_class = form & 255
            run = run + 1 if last_class > 0 else 0
            if run > longest_run:
                is_endless = True
            # The characters of bytes 80 to BF in Windows-1252 and its kin: symbols, quotes, a few letters.
            symbol = point < 0xC0 or 0x2010 <= point <= 0x2044 or point == 0x20AC or point == 0x2122
            symbol |= 0x0152 <= point <= 0x0192 or point == 0x02C6 or point == 0x02DC
            if expected > 0 and symbol:
                expected -= 1
                if expected == 0:
                    flags |= np.uint8(1)
            elif 0xC2 <= point <= 0xDF or point == 0x0102 or point == 0x0139:
                expected = 1
            elif 0xE0 <= point <= 0xEF:
                expected = 2
            elif 0xF0 <= point <= 0xF4:
                expected = 3
            else:
                expected = 0
            # Cyrillic in Windows-1251: a capital Er or Es before what is no letter of Russian, or the Er again.
            if (last == 0x0420 or last == 0x0421) and (
                point < 0xC0
                or 0x0402 <= point <= 0x040F
                or 0x0452 <= point <= 0x045F
                or 0x2010 <= point <= 0x2122
            ):
                flags |= np.uint8(1)
            # Mac Roman: a root sign or a low quote before a letter that does not follow them.
            if (last == 0x221A or last == 0x201A) and 0xA0 < point < 0x0100:
                flags |= np.uint8(1)
            last = point
        out[row] = flags & np.uint8(0xFD) if is_endless else flags
    return out


@kernel
def _differs(data: Any, offsets: Any, other: Any, other_offsets: Any) -> Any:
    out = np.zeros(offsets.size - 1, np.bool_)
    for row in range(offsets.size - 1):
        size = offsets[row + 1] - offsets[row]
        if size != other_offsets[row + 1] - other_offsets[row]:
            out[row] = True
            continue
        for at in range(size):
            if data[offsets[row] + at] != other[other_offsets[row] + at]:
                out[row] = True
                break
    return out


@kernel
def _clean(data: Any, offsets: Any, settings: Any, counts: Any) -> Any:
    """The texts with line ends, controls and invisible characters mended as the settings say."""
    line_ends, controls, invisible = settings[0], settings[1], settings[2]
    out = np.empty(offsets[-1] - offsets[0], np.uint8)
    ends = np.zeros(offsets.size, np.int64)
    written = 0
    for row in range(offsets.size - 1):
        at, end = offsets[row], offsets[row + 1]
        first = written
        while at < end:
            byte = data[at]
            if 32 <= byte < 127 or byte == 10 or byte == 9:
                out[written] = byte
                written += 1
                at += 1
                continue
            size, kind, is_line_end = 1, -1, False
            if byte == 13:
                kind, is_line_end = 0, True
                size = 2 if at + 1 < end and data[at + 1] == 10 else 1
            elif byte < 32 or byte == 127:
                kind, is_line_end = 1, byte == 11 or byte == 12 or 28 <= byte <= 30
                if byte == 27 and at + 1 < end and data[at + 1] == 91:
                    stop = at + 2
                    while stop < end and 0x20 <= data[stop] <= 0x3F:
                        stop += 1
                    if stop < end and 0x40 <= data[stop] <= 0x7E:
                        size = stop + 1 - at
            elif byte == 0xC2 and at + 1 < end:
                size = 2
                if data[at + 1] == 0x85:
                    kind, is_line_end = 0, True
                elif data[at + 1] < 0xA0:
                    kind = 1
                elif data[at + 1] == 0xAD:
                    kind = 2
            elif byte == 0xEF and at + 2 < end and data[at + 1] == 0xBB and data[at + 2] == 0xBF:
                size, kind = 3, 2
            elif byte == 0xE2 and at + 2 < end and (data[at + 1] == 0x80 or data[at + 1] == 0x81):
                size = 3
                third = data[at + 2]
                if data[at + 1] == 0x81:  # U+2060 to 2064, 2066 to 2069
                    if third >= 0xA0 and third <= 0xA9 and third != 0xA5:
                        kind = 2
                elif third == 0xA8 or third == 0xA9:
                    kind, is_line_end = 0, True
                elif 0xAA <= third <= 0xAE or third == 0x8E or third == 0x8F:
                    kind = 2
                elif third == 0x8C or third == 0x8D:  # joiners: kept between characters outside ASCII
                    if written == first or out[written - 1] < 0x80 or at + 3 >= end or data[at + 3] < 0x80:
                        kind = 2
                elif third == 0x8B:  # zero-width space: kept after Thai, Lao, Tibetan, Myanmar and Khmer
                    kind = 2
                    if written >= first + 3:
                        lead, second = out[written - 3], out[written - 2]
                        if (lead == 0xE0 and second >= 0xB8) or (
                            lead == 0xE1 and (second <= 0x82 or second == 0x9E or second == 0x9F)
                        ):
                            kind = -1
            else:
                size = min(2 if byte < 0xE0 else 3 if byte < 0xF0 else 4, end - at)
            if (kind == 0 and line_ends) or (kind == 1 and controls) or (kind == 2 and invisible):
                counts[row, kind] += 1
                if is_line_end:
                    out[written] = 10
                    written += 1
            else:
                for index in range(size):
                    out[written] = data[at + index]
                    written += 1
            at += size
        ends[row + 1] = written
    return out[:written], ends
