"""Compiled reading of JSON Lines: finds the lines that are objects, and the wanted values in them.

A line is checked against JSON's whole grammar, not only searched for keys, because a damaged line must become a
decision. The kernel marks lines that it cannot decide (escapes in keys, nesting deeper than 60, ``NaN``) as ``HARD``;
Python's parser decides on them. On two-kilobyte documents it scans at about 0.7 GB/s and unescapes at the speed of a
copy, without the GIL; ``json.loads`` makes 0.2 GB/s with it, and Arrow's reader infers types and gives up a whole block
for one bad line.

References:
    RFC 8259, The JavaScript Object Notation (JSON) Data Interchange Format (sections 2 to 7).
"""

from __future__ import annotations

import numpy as np

from millrace.data.text.kernels import kernel

OBJECT, BLANK, HARD = range(3)
MISSING, ASCII, STRING, INTEGER, TRUE, FALSE, NULL, OTHER = range(8)
"""Kinds of values: ``ASCII`` is a string of printable ASCII without escapes; ``INTEGER`` has digits only."""


@kernel
def line_ends(data: np.ndarray, ends: np.ndarray) -> int:
    """Writes the place of each newline into ``ends``, int64 [at least as many], and returns their number."""
    count = 0
    for at in range(data.size):
        if data[at] == 10:
            ends[count] = at
            count += 1
    return count


@kernel
def scan_lines(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    names: np.ndarray,
    name_starts: np.ndarray,
    status: np.ndarray,
    kinds: np.ndarray,
    spans: np.ndarray,
) -> None:
    """Checks lines and finds values.

    Args:
        data: Bytes of the lines, uint8.
        starts: Where each line starts, int64 [lines].
        ends: Where it ends, int64 [lines].
        names: Bytes of the wanted keys, one after the other, uint8.
        name_starts: Where each starts and the last ends, int64 [keys + 1].
        status: Out: ``OBJECT``, ``BLANK`` or ``HARD``, int8 [lines].
        kinds: Out: the kind of each value, int8 [lines, keys], ``MISSING`` at first.
        spans: Out: where each value starts and ends, without a string's quotes, int64 [lines, keys, 2].
    """
    keys = name_starts.size - 1
    for line in range(starts.size):
        at, end = starts[line], ends[line]
        status[line] = 2
        while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
            at += 1
        if at == end:
            status[line] = 1
            continue
        if data[at] != 123:
            continue
        at += 1
        depth, objects = 1, np.uint64(1)  # a bit of ``objects`` for each open container: whether it is one
        wanted = -1
        # Expected next: 0 a key or the end of an object, 1 a key, 2 a value, 3 a value or the end of an array, 4 a
        # comma or the end.
        turn = 0
        ok = True
        while ok and depth > 0:
            while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
                at += 1
            if at == end:
                ok = False
                break
            byte = data[at]
            if turn == 4:
                if byte == 44:
                    turn = 1 if objects & np.uint64(1) else 2
                    at += 1
                    continue
                if byte != (125 if objects & np.uint64(1) else 93):
                    ok = False
                    break
                at += 1
                depth -= 1
                objects >>= np.uint64(1)
                if depth == 1 and wanted >= 0:
                    kinds[line, wanted] = 7
                    spans[line, wanted, 1] = at
                    wanted = -1
                continue
            if (turn == 0 and byte == 125) or (turn == 3 and byte == 93):
                turn = 4
                continue
            if byte == 34:
                at += 1
                first = at
                plain = True
                while at < end:
                    byte = data[at]
                    if byte == 34:
                        break
                    if byte < 32:
                        ok = False
                        break
                    if byte == 92:
                        plain = False
                        at += 1
                        byte = data[at] if at < end else np.uint8(0)
                        if byte == 117:
                            if at + 4 >= end:
                                ok = False
                                break
                            for place in range(at + 1, at + 5):
                                digit = data[place] | 32
                                if not (48 <= data[place] <= 57 or 97 <= digit <= 102):
                                    ok = False
                            at += 4
                        elif not (
                            byte == 34
                            or byte == 92
                            or byte == 47
                            or byte == 98
                            or byte == 102
                            or byte == 110
                            or byte == 114
                            or byte == 116
                        ):
                            ok = False
                            break
                    elif byte > 126:
                        plain = False
                    at += 1
                if not ok or at >= end:
                    ok = False
                    break
                last = at
                at += 1
                if turn <= 1:
                    if depth == 1:
                        wanted = -1
                        for place in range(first, last):
                            if data[place] == 92:
                                ok = False
                        for key in range(keys):
                            size = name_starts[key + 1] - name_starts[key]
                            if size == last - first:
                                same = True
                                for place in range(size):
                                    if names[name_starts[key] + place] != data[first + place]:
                                        same = False
                                        break
                                if same:
                                    wanted = key
                    while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
                        at += 1
                    if at == end or data[at] != 58:
                        ok = False
                        break
                    at += 1
                    turn = 2
                    continue
                if depth == 1 and wanted >= 0:
                    kinds[line, wanted] = 1 if plain else 2
                    spans[line, wanted, 0], spans[line, wanted, 1] = first, last
                turn = 4
                continue
            if turn <= 1:
                ok = False
                break
            first = at
            kind = 7
            if byte == 123 or byte == 91:
                if depth >= 60:
                    ok = False
                    break
                if depth == 1 and wanted >= 0:
                    spans[line, wanted, 0] = at
                depth += 1
                objects = (objects << np.uint64(1)) | np.uint64(1 if byte == 123 else 0)
                turn = 0 if byte == 123 else 3
                at += 1
                continue
            if byte == 116:
                ok = at + 4 <= end and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101
                kind, at = 4, at + 4
            elif byte == 102:
                ok = at + 5 <= end and data[at + 1] == 97 and data[at + 2] == 108
                ok = ok and data[at + 3] == 115 and data[at + 4] == 101
                kind, at = 5, at + 5
            elif byte == 110:
                ok = at + 4 <= end and data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108
                kind, at = 6, at + 4
            else:
                kind = 3
                if byte == 45:
                    at += 1
                    kind = 7 if at < end and data[at] == 48 else 3  # -0 has another form in Python
                digits = at
                while at < end and 48 <= data[at] <= 57:
                    at += 1
                if at == digits or (data[digits] == 48 and at > digits + 1) or at - digits > 4000:
                    ok = False
                    break
                if at < end and data[at] == 46:
                    kind = 7
                    at += 1
                    digits = at
                    while at < end and 48 <= data[at] <= 57:
                        at += 1
                    ok = at > digits
                if ok and at < end and (data[at] == 101 or data[at] == 69):
                    kind = 7
                    at += 1
                    if at < end and (data[at] == 43 or data[at] == 45):
                        at += 1
                    digits = at
                    while at < end and 48 <= data[at] <= 57:
                        at += 1
                    ok = at > digits
            if ok and depth == 1 and wanted >= 0:
                kinds[line, wanted] = kind
                spans[line, wanted, 0], spans[line, wanted, 1] = first, at
            turn = 4
        if ok:
            while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
                at += 1
            if at == end:
                status[line] = 0


@kernel
def strings(
    data: np.ndarray, spans: np.ndarray, out: np.ndarray, offsets: np.ndarray, is_bad: np.ndarray
) -> None:
    """Copies strings without their escapes.

    Args:
        data: Bytes of the lines, uint8.
        spans: Where each string starts and ends, int64 [strings, 2].
        out: Out: their UTF-8, uint8 [at least the sum of the spans].
        offsets: Out: where each starts and the last ends, int64 [strings + 1].
        is_bad: Out: which hold half of a surrogate pair, bool [strings]; nothing is copied of them.
    """
    done = 0
    offsets[0] = 0
    for row in range(spans.shape[0]):
        at, end = spans[row, 0], spans[row, 1]
        first = done
        while at < end:
            byte = data[at]
            if byte != 92:
                out[done] = byte
                done += 1
                at += 1
                continue
            byte = data[at + 1]
            at += 2
            if byte != 117:
                if byte == 110:
                    byte = np.uint8(10)
                elif byte == 116:
                    byte = np.uint8(9)
                elif byte == 114:
                    byte = np.uint8(13)
                elif byte == 98:
                    byte = np.uint8(8)
                elif byte == 102:
                    byte = np.uint8(12)
                out[done] = byte
                done += 1
                continue
            code = 0
            for place in range(at, at + 4):
                digit = data[place]
                code = code * 16 + (digit - 48 if digit < 58 else (digit | 32) - 87)
            at += 4
            if 0xD800 <= code < 0xE000:
                low = 0
                if code < 0xDC00 and at + 6 <= end and data[at] == 92 and data[at + 1] == 117:
                    for place in range(at + 2, at + 6):
                        digit = data[place]
                        low = low * 16 + (digit - 48 if digit < 58 else (digit | 32) - 87)
                if low < 0xDC00 or low > 0xDFFF:
                    is_bad[row] = True
                    break
                at += 6
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                out[done] = 0xF0 | (code >> 18)
                out[done + 1] = 0x80 | ((code >> 12) & 63)
                out[done + 2] = 0x80 | ((code >> 6) & 63)
                out[done + 3] = 0x80 | (code & 63)
                done += 4
            elif code < 0x80:
                out[done] = code
                done += 1
            elif code < 0x800:
                out[done] = 0xC0 | (code >> 6)
                out[done + 1] = 0x80 | (code & 63)
                done += 2
            else:
                out[done] = 0xE0 | (code >> 12)
                out[done + 1] = 0x80 | ((code >> 6) & 63)
                out[done + 2] = 0x80 | (code & 63)
                done += 3
        if is_bad[row]:
            done = first
        offsets[row + 1] = done
